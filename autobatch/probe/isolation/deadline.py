"""A time limit for trials that cannot be stopped from outside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from autobatch.workload.batches import BatchSource, WorstBatches


class TrialTimedOut(Exception):  # noqa: N818 - an outcome, as KeyboardInterrupt is
    """The time of a trial is up."""


class DeadlineSource:
    """A source that stops giving batches once the time is up.

    Args:
        source: Where batches come from.
        timeout_s: Time from the request of the first batch on, ``None`` for no limit.
        clock: Returns seconds from any origin.
    """

    def __init__(
        self,
        source: BatchSource,
        timeout_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._timeout_s = timeout_s
        self._clock = clock
        self.description = source.description
        self.dataset_size = source.dataset_size
        self.num_loader_workers = source.num_loader_workers
        self.lengths = source.lengths

    def batches(self, batch_size: int) -> Iterator[Any]:
        """The batches of the source.

        Raises:
            TrialTimedOut: When the time is up.
        """
        begin = self._clock()
        for batch in self._source.batches(batch_size):
            if self._timeout_s is not None and self._clock() - begin > self._timeout_s:
                raise TrialTimedOut
            yield batch

    def worst_batch(self, batch_size: int, longest: int) -> Any:
        """The longest samples of the source up to a length."""
        return self._source.worst_batch(batch_size, longest)

    def worst_batches(self, batch_size: int) -> WorstBatches:
        """The largest samples of the source, by each criterion."""
        return self._source.worst_batches(batch_size)

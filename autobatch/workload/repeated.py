"""One batch for every step: random data, or one sample again and again."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data._utils.pin_memory import pin_memory

from autobatch.records import LengthScan
from autobatch.workload.tensors import find_tensors


class RepeatedSource:
    """One batch, made once and used for every step, so that no loading is timed."""

    num_loader_workers = 0
    lengths: LengthScan | None = None

    def worst_batch(self, batch_size: int, longest: int) -> None:
        """None: all samples are alike."""

    def worst_batches(self, batch_size: int) -> list[Any]:
        """None, as above."""
        return []

    def __init__(self, make_batch: Callable[[int], Any], description: str) -> None:
        self._make_batch = make_batch
        self.description = description
        self.dataset_size: int | None = None

    def batches(self, batch_size: int) -> Iterator[Any]:
        """The same batch again and again."""
        return itertools.repeat(self._make_batch(batch_size))

    def keep_batches(self, pin: Callable[[Any], Any]) -> None:
        """Make the batch of each size once for all trials, as memory beside a device's allows.

        Args:
            pin: Brings a batch to memory that the device copies from without waiting.
        """
        make_batch = self._make_batch

        def make(batch_size: int) -> Any:
            return pin(make_batch(batch_size))

        self._make_batch = KeptBatches(make)


class KeptBatches:
    """Batches by size: the last ones that were asked for.

    Args:
        make_batch: Makes one.
        most_bytes: Host memory for all of them; the last one is kept in any case.
    """

    def __init__(self, make_batch: Callable[[int], Any], most_bytes: int = 2**31) -> None:
        self._make_batch = make_batch
        self._most_bytes = most_bytes
        self._kept: dict[int, Any] = {}

    def __call__(self, batch_size: int) -> Any:
        """The batch of a size, made if it is not kept."""
        batch = self._kept.pop(batch_size, None)
        if batch is None:
            batch = self._make_batch(batch_size)
        self._kept[batch_size] = batch
        while len(self._kept) > 1 and self._count_bytes() > self._most_bytes:
            del self._kept[next(iter(self._kept))]
        return batch

    def _count_bytes(self) -> int:
        return sum(tensor.nbytes for each in self._kept.values() for tensor in find_tensors(each))


def keep_batches(source: object, device_name: str) -> None:
    """Have a source that repeats one batch make that of each size once, beside a device.

    On the CPU nothing is kept: it would be part of the memory that trials measure.

    Args:
        source: Where batches come from.
        device_name: Where the training is; for CUDA batches are pinned, so that copies of them
            do not hold the host up.
    """
    if isinstance(source, RepeatedSource) and device_name != "cpu":
        source.keep_batches(pin_memory if device_name.startswith("cuda") else _as_it_is)


def _as_it_is(batch: Any) -> Any:
    return batch

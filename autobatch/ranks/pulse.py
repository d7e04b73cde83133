"""Whether the processes of other ranks are there still, told through their store.

A launcher ends the processes of its own node if one of them dies. It does not hear of another node
that is gone, and a rank that waits for one of that node would wait for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from torch._C._distributed_c10d import Store

from autobatch.errors import WorkerError

_INTERVAL_S = 1.0


class Pulse:
    """Tells that this rank lives, and looks whether others do.

    Args:
        store: Of this search.
        rank: Which one this is.
        watched: The ranks to look at.
        silence_s: For how long one of them may tell nothing.
        clock: Returns seconds from any origin.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        watched: Iterable[int],
        silence_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._rank, self._silence_s, self._clock = store, rank, silence_s, clock
        self._last_s = clock() - _INTERVAL_S
        self._heard = dict.fromkeys(watched, (0, clock()))

    def beat(self) -> list[int]:
        """Tell once in a second that this rank lives, and return those that have been silent."""
        now = self._clock()
        if now - self._last_s >= _INTERVAL_S:
            self._last_s = now
            self._store.add(f"pulse/{self._rank}", 1)
            for rank, (count, _) in self._heard.items():
                told = self._store.add(f"pulse/{rank}", 0)
                if told != count:
                    self._heard[rank] = told, now
        return [rank for rank, (_, at_s) in self._heard.items() if now - at_s > self._silence_s]

    def require_all(self) -> None:
        """Tell that this rank lives, and see that the others do.

        Raises:
            WorkerError: If one does not.
        """
        silent = self.beat()
        if silent:
            raise WorkerError(
                f"rank {silent[0]} has told nothing for {self._silence_s:g} s: its process or its "
                "machine is gone, or it went on without this search",
                hint="see what ended it there, and start all ranks anew",
            )

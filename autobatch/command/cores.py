"""Cores that other processes keep busy while the steps of a command are timed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from autobatch.devices.cpu import CpuDevice

# The kernel counts in ticks of 10 ms.
_LONG_ENOUGH_S = 0.1


class OthersWatch:
    """Counts what the machine does beside autobatch and the processes of a run.

    Args:
        members: The processes of the run.
        clock: Returns seconds from any origin.
    """

    def __init__(
        self,
        members: Callable[[], Iterable[int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._members, self._clock = members, clock
        self._begin_s: float | None = None

    def begin(self) -> None:
        """Begin to count."""
        self._begin_s = self._clock()
        self._machine_s, self._family_s = self._read()

    def read(self) -> float | None:
        """Cores that others kept busy since; ``None`` if that cannot be told."""
        if self._begin_s is None or self._machine_s is None:
            return None
        elapsed_s = self._clock() - self._begin_s
        machine_s, family_s = self._read()
        if machine_s is None or elapsed_s < _LONG_ENOUGH_S:
            return None
        own_s = family_s - self._family_s
        return max(0.0, (machine_s - self._machine_s - own_s) / elapsed_s)

    def _read(self) -> tuple[float | None, float]:
        use = CpuDevice().cpu_use()
        family_s = sum(_cpu_time_s(pid) for pid in (os.getpid(), *self._members()))
        return (None if use is None else use.machine_busy_s), family_s


def _cpu_time_s(pid: int) -> float:
    """CPU time of a process so far, with what children left to it; 0 if it is gone."""
    with suppress(OSError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return 0.0

"""Sampling the memory of another process and of those that it started.

Two ways: the kernel's own accounts on Linux, and ``psutil`` where there is no ``/proc``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import psutil

from autobatch.records import Unknown

# A look at the pages of a loader's workers walks all of them, some 13 ms for each GiB: it may take
# this fraction of the time, but a loader that grows must be seen before long.
_LOOKING_FRACTION = 0.02
_LONGEST_PAUSE_S = 2.0


class ProcessMeter:
    """What a process and its descendants hold, at each look and at its highest.

    Args:
        read_own: Resident bytes of the process; ``None`` if it is gone.
        read_loader: What its descendants hold besides it.
        clock: Returns seconds from any origin.

    Attributes:
        peak_bytes: The highest sum that was seen; ``None`` before the first look.
        peak_loader_bytes: The highest of what descendants held, or why that is not known.
    """

    def __init__(
        self,
        read_own: Callable[[], int | None],
        read_loader: Callable[[], int | Unknown],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read_own, self._read_loader, self._clock = read_own, read_loader, clock
        self._loader_bytes = 0
        self._next_loader_look_s = clock()
        self.peak_bytes: int | None = None
        self.peak_loader_bytes: int | Unknown = 0

    def look(self) -> int | None:
        """Look once; the sum at this moment, ``None`` if the process is gone."""
        own_bytes = self._read_own()
        if own_bytes is None:
            return None
        if self._clock() >= self._next_loader_look_s:
            self._look_at_loader()
        held_bytes = own_bytes + self._loader_bytes
        self.peak_bytes = max(self.peak_bytes or 0, held_bytes)
        return held_bytes

    def _look_at_loader(self) -> None:
        begin_s = self._clock()
        loader_bytes = self._read_loader()
        end_s = self._clock()
        pause_s = min((end_s - begin_s) / _LOOKING_FRACTION, _LONGEST_PAUSE_S)
        self._next_loader_look_s = end_s + pause_s
        if isinstance(loader_bytes, Unknown):
            self.peak_loader_bytes = loader_bytes
            return
        self._loader_bytes = loader_bytes
        if not isinstance(self.peak_loader_bytes, Unknown):
            self.peak_loader_bytes = max(self.peak_loader_bytes, loader_bytes)


def meter_process(pid: int, *, template_pid: int | None = None) -> ProcessMeter:
    """A meter of a process, as exact as this system lets it be.

    Args:
        pid: The process.
        template_pid: The process that it was forked from, if it was.
    """
    if sys.platform != "linux":
        return meter_by_sampling(pid)
    from autobatch.devices import family, linux

    def read_own() -> int | None:
        try:
            return linux.read_status_bytes(pid).get("VmRSS")
        except OSError:
            return None

    return ProcessMeter(read_own, lambda: family.read_loader_bytes(pid, template_pid=template_pid))


def meter_by_sampling(pid: int) -> ProcessMeter:
    """A meter that needs no ``/proc``: what happens between two looks is not seen."""
    return ProcessMeter(lambda: _resident_bytes(pid), lambda: sample_loader_bytes(pid))


def sample_loader_bytes(pid: int) -> int | Unknown:
    """Memory that the descendants of a process share with nobody."""
    total = 0
    try:
        for process in psutil.Process(pid).children(recursive=True):
            try:
                total += int(process.memory_full_info().uss)
            except psutil.NoSuchProcess:  # it ended meanwhile
                continue
    except psutil.NoSuchProcess:
        return 0
    except psutil.AccessDenied:
        return Unknown(reason="no permission to see the memory of a loader worker")
    return total


def _resident_bytes(pid: int) -> int | None:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None

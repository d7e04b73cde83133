"""A forked child for each piece of work: on Linux, on the CPU.

It starts with the model loaded and an allocator without history; if it dies, the worker lives on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch

from autobatch.devices import linux
from autobatch.devices.base import Device
from autobatch.devices.meter import ProcessMeter
from autobatch.probe.isolation.base import Ended
from autobatch.probe.isolation.child import ChildDied, meter_child, run_in_child
from autobatch.probe.isolation.endings import WorkFailed, attempt, crash_from_death
from autobatch.probe.isolation.loading import load_before_forks
from autobatch.probe.isolation.own_threads import OwnThreadsError, find_new_threads
from autobatch.probe.protocol import Failure, JobContext
from autobatch.workload.task import TrainingTask

R = TypeVar("R")

# A scan ends by itself after seconds, unless one sample takes forever.
_READING_TIMEOUT_S = 60.0


class Forked:
    """Does each piece of work in a child.

    Args:
        file_pages: Pages of libraries that the process this one was forked from had in memory.
        refuses_threads: Whether not to load a task that starts threads of its own.
        look: Called with the child's number each time it is looked at; may end it.
    """

    label = "process"
    is_apart = True
    own_bytes = 0

    def __init__(
        self,
        file_pages: Iterable[int] = (),
        *,
        refuses_threads: bool = False,
        look: Callable[[int], None] = lambda pid: None,
    ) -> None:
        self._refuses_threads = refuses_threads
        self._look = look
        self._file_pages = list(file_pages)
        self._num_threads = torch.get_num_threads()

    def load(self, make: Callable[[], TrainingTask], device: Device) -> tuple[TrainingTask, int]:
        """Make the task without starting threads, which a forked child would lack.

        Raises:
            OwnThreadsError: If it starts threads of its own, and those are refused.
        """
        known = threading.enumerate()
        task, self._num_threads = load_before_forks(make)
        names = find_new_threads(known)
        if names and self._refuses_threads:
            raise OwnThreadsError(names)
        self._file_pages = sorted({*self._file_pages, *linux.find_resident_file_pages()})
        return task, self._num_threads

    def read(self, work: Callable[[], R]) -> R | None:
        """Read in a child."""
        return read_in_child(work)

    def run(self, work: Callable[[JobContext], R], context: JobContext) -> Ended[R]:
        """Do a piece of work in a child, and watch its memory."""
        meters: list[ProcessMeter] = []

        def watch(pid: int) -> ProcessMeter:
            meters.append(meter_child(pid))
            return meters[0]

        def work_in_child() -> object:
            linux.touch(self._file_pages)
            torch.set_num_threads(context.num_threads or self._num_threads)
            return attempt(lambda: work(context), doing=context.doing)

        limits = context.limits
        result = run_in_child(
            work_in_child,
            budget_bytes=limits.budget_bytes,
            timeout_s=limits.timeout_s,
            meter=watch,
            look=self._look,
        )
        if isinstance(result, Failure):
            raise WorkFailed(result)
        if isinstance(result, ChildDied):
            result = crash_from_death(result, limits.timeout_s)
        return Ended(result=result, meter=meters[0])


def read_in_child(work: Callable[[], R]) -> R | None:
    """Read something in a child, because the memory that reading takes may stay.

    Raises:
        WorkFailed: If the user's code raised.
    """

    def read() -> object:
        torch.set_num_threads(1)  # as in a loader's worker: a fork has no other threads
        return attempt(work, doing="")

    found = run_in_child(read, timeout_s=_READING_TIMEOUT_S)
    if isinstance(found, Failure):
        raise WorkFailed(found)
    return None if isinstance(found, ChildDied) else found

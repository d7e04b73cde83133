"""Work in the worker's own process: on GPUs, and where the system cannot fork.

Each piece of work begins as a training begins. What an optimizer makes in its first step, such as
Adam's moments, a training makes in memory that activations have just given back; a trial that
found it there already would measure another layout of the same memory.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import TypeVar

import torch

from autobatch.devices.base import Device
from autobatch.probe.isolation.base import Ended
from autobatch.probe.isolation.endings import WorkFailed, attempt
from autobatch.probe.isolation.saved_state import SavedState
from autobatch.probe.protocol import Crash, Failure, JobContext
from autobatch.workload.task import TrainingTask

if sys.platform == "linux":
    from autobatch.probe.isolation.forked import read_in_child

R = TypeVar("R")


class InPlace:
    """Does each piece of work in this process.

    Learning rates are zero, so that weights stay as they are. The optimizer's state is what it
    was when the task was made, before each piece of work.

    Args:
        keeps_weights: Whether to put a copy of the weights and the optimizer's state back after
            each one, for a loss that is not finite: zero times infinity is not a number.
        label: ``reloaded`` where the worker does one piece of work alone.
    """

    is_apart = False
    own_bytes = 0

    def __init__(self, *, keeps_weights: bool = False, label: str = "shared") -> None:
        self.label = label
        self._keeps_weights = keeps_weights
        self._restore: Callable[[], None] = lambda: None
        self._drop_new_state: Callable[[], None] = lambda: None

    def load(self, make: Callable[[], TrainingTask], device: Device) -> tuple[TrainingTask, int]:
        """Make the task, and a copy of its weights if one is kept.

        What is loaded is left out of all later garbage collections: each trial begins with one.
        """
        task = make()
        if self._keeps_weights:
            self._restore = SavedState([task.model, task.built.optimizer], []).restore
        self._drop_new_state = _remember_state(task.built.optimizer)
        gc.collect()
        gc.freeze()
        return task, torch.get_num_threads()

    def read(self, work: Callable[[], R]) -> R | None:
        """Read, in a child if this system can fork."""
        return read_in_child(work) if sys.platform == "linux" else work()

    def run(self, work: Callable[[JobContext], R], context: JobContext) -> Ended[R]:
        """Do a piece of work here; the user's code may still end the process."""
        self._drop_new_state()
        with use_threads(context.num_threads):
            result = attempt(lambda: work(context), doing=context.doing)
        # A device that was lost must be left alone.
        if not (isinstance(result, Crash) and result.lost_device is not None):
            self._restore()
        if isinstance(result, Failure):
            raise WorkFailed(result)
        return Ended(result=result)


def _remember_state(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """Make a function that leaves the optimizer only the state that it has now."""
    known = {parameter: copy(state) for parameter, state in optimizer.state.items()}

    def drop_new() -> None:
        optimizer.state.clear()
        for parameter, state in known.items():
            optimizer.state[parameter] = copy(state)

    return drop_new


@contextmanager
def use_threads(num_threads: int | None) -> Iterator[None]:
    """Use this many CPU threads, unless ``None``; afterwards as many as before."""
    before = torch.get_num_threads()
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    try:
        yield
    finally:
        if num_threads is not None:
            torch.set_num_threads(before)

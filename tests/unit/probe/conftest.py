"""A clock that only moves when told, and tasks built in place."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from autobatch.workload.batches import make_source
from autobatch.workload.contract import Workload
from autobatch.workload.loss import LossFunction
from autobatch.workload.optimizer import build_optimizer
from autobatch.workload.task import TrainingTask


class Clock:
    """Seconds since its making; steps pass as many as they are told to."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.num_steps = 0

    def __call__(self) -> float:
        return self.now_s

    def step(self, *durations_s: float, data_s: float = 0.0) -> Callable[[], float]:
        """A step that takes each of the durations in turn, then the last one for good."""

        def run() -> float:
            self.now_s += durations_s[min(self.num_steps, len(durations_s) - 1)]
            self.num_steps += 1
            return data_s

        return run


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_task() -> Callable[..., TrainingTask]:
    """A task of live objects, without a file."""

    def make(model: torch.nn.Module, **fields: Any) -> TrainingTask:
        workload = Workload(model=model, **fields)
        return TrainingTask(
            workload=workload,
            model=model,
            source=make_source(workload),
            loss=LossFunction(workload, model),
            built=build_optimizer(workload, model),
            guesses=(),
        )

    return make


@pytest.fixture
def run_watched() -> Iterator[Callable[[Callable[[], Any]], Any]]:
    """Run a call that may wait for ever: in a thread, for 10 s at most."""
    pool = ThreadPoolExecutor(max_workers=1)
    yield lambda call: pool.submit(call).result(timeout=10)
    pool.shutdown(wait=False)


@pytest.fixture
def grandchild(tmp_path: Path) -> Iterator[Path]:
    """A file for the number of a process that is to be ended after the test."""
    note = tmp_path / "pid"
    yield note
    os.kill(int(note.read_text()), signal.SIGKILL)


@pytest.fixture
def no_child_left() -> Iterator[None]:
    """Fail a test after which this process has more children than before, dead or alive."""
    before = _children()
    yield
    left = _children() - before
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == set()


def _children() -> set[int]:
    tasks = Path("/proc/self/task").glob("*/children")
    return {int(pid) for task in tasks for pid in task.read_text().split()}

"""Targets and callers with threads of their own, which a fork lacks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from autobatch import find_batch_size

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing forks here")

POOL = """
    from concurrent.futures import ThreadPoolExecutor
    POOL = ThreadPoolExecutor(max_workers=1, thread_name_prefix="halves")
    POOL.submit(print).result()

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = nn.Linear(8, 3)
        def forward(self, x):
            if len(x) == 16:
                import os; os._exit(3)
            return POOL.submit(self.part, x).result()

    model = Net()
    dataset = [(torch.randn(8), 1)] * 64
"""


def test_a_pool_that_forward_uses_is_noticed_and_each_trial_loads_anew(
    probe: Callable[..., Any],
) -> None:
    pool = probe(POOL)
    loaded = pool.load()
    assert loaded.workload.own_threads == ("halves_0",)
    assert loaded.environment.isolation == "reloaded"
    workers = []
    for size in (4, 8):
        # One that waits for a thread that is not there is timed out.
        assert pool.measure(size, timeout_s=150).fits
        workers.append(pool.worker().pid)
    assert workers[0] != workers[1], "a process that has worked is not used again"
    assert pool.measure(16, timeout_s=150).outcome.value == "killed"
    assert pool.measure(4, timeout_s=150).fits, "a trial that dies costs that trial alone"


@pytest.mark.parametrize(
    "code",
    ["pass", "class TMonitor(threading.Thread): pass\nTMonitor(target=wait, daemon=True).start()"],
    ids=["no threads", "a thread that only looks on"],
)
def test_without_threads_that_matter_trials_are_forked(
    probe: Callable[..., Any], code: str
) -> None:
    head = "import threading, torch\nwait = threading.Event().wait\n"
    rest = "model = torch.nn.Linear(8, 3)\ndataset = [(torch.randn(8), 1)] * 64\n"
    plain = probe(f"{head}{code}\n{rest}")
    loaded = plain.load()
    assert loaded.workload.own_threads == ()
    assert loaded.environment.isolation == "process"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=1) as threads:
        threads.submit(int).result()
        yield threads


def test_beside_a_pool_of_the_caller_trials_run_in_its_process(pool: ThreadPoolExecutor) -> None:
    model = nn.Linear(8, 3)

    def step(module: nn.Module, batch: Any) -> torch.Tensor:
        return pool.submit(module, batch[0]).result().square().mean()

    data = TensorDataset(torch.randn(64, 8))
    finding = find_batch_size(
        model, data, training_step=step, goal="memory", max_batch_size=2, trial_timeout="60s"
    )
    assert finding.environment.isolation == "shared"
    assert finding.trials[0].fits

"""What a worker does with a trial beside running it."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from torch import nn

from autobatch.devices.cpu import CpuDevice
from autobatch.probe.isolation.base import Ended
from autobatch.probe.isolation.forked import Forked
from autobatch.probe.protocol import JobRequest, Limits, TimingPlan, TrialRequest
from autobatch.probe.worker.loaded import LoadedWorker
from autobatch.records import MemoryBudget, Outcome, Settings, Trial
from autobatch.workload.loss import LossFacts

GIB = 2**30


class Scripted:
    """An isolation in which trials end as they are told to."""

    label = "shared"
    is_apart = False
    own_bytes = 0

    def __init__(self, *trials: Trial) -> None:
        self.left = list(trials)

    def run(self, work: Any, context: Any) -> Ended[Any]:
        return Ended(result=(self.left.pop(0), LossFacts(description="")))


def ended(outcome: Outcome, **fields: Any) -> Trial:
    return Trial(batch_size=8, outcome=outcome, peak_bytes=GIB, **fields)


@pytest.mark.parametrize(
    ("first", "num_left"),
    [
        # A GPU on which kernels were loaded meanwhile.
        (ended(Outcome.OVER_BUDGET, peak_reserved_bytes=GIB // 2), 0),
        (ended(Outcome.OUT_OF_MEMORY, peak_reserved_bytes=GIB // 2), 1),
        # On the CPU the budget counts all that a process holds.
        (ended(Outcome.OVER_BUDGET), 1),
    ],
)
def test_a_gpu_that_ends_over_budget_has_a_second_run(
    first: Trial, num_left: int, make_task: Any
) -> None:
    isolation = Scripted(first, ended(Outcome.FITS, peak_reserved_bytes=GIB // 2))
    device = CpuDevice()
    task = make_task(nn.Linear(4, 3), batch=lambda size: None)
    worker = LoadedWorker(
        task=task,
        device=device,
        settings=Settings(),
        isolation=isolation,  # type: ignore[arg-type]
        budget=MemoryBudget.from_bounds(device.bounds(None), headroom_fraction=0.0),
        host_budget=None,
        pinned=None,
    )
    request = TrialRequest(
        batch_size=8, plan=TimingPlan(), limits=Limits(budget_bytes=GIB, timeout_s=None)
    )
    reply = worker.measure(request)
    assert len(isolation.left) == num_left
    assert reply.trial.fits is (num_left == 0)


@pytest.mark.skipif(sys.platform != "linux", reason="forks, as on Linux")
def test_a_job_in_a_child_tells_the_parent_how_far_it_is(make_task: Any) -> None:
    reader, writer = os.pipe()
    device = CpuDevice()
    worker = LoadedWorker(
        task=make_task(nn.Linear(4, 3), batch=lambda size: None),
        device=device,
        settings=Settings(),
        isolation=Forked(),
        budget=MemoryBudget.from_bounds(device.bounds(None), headroom_fraction=0.0),
        host_budget=None,
        pinned=None,
        tell=lambda doing: os.write(writer, doing.encode()) and None,
    )
    job = SimpleNamespace(doing="", run=lambda context: context.tell("half"))
    worker.run(JobRequest(job=job, limits=Limits(budget_bytes=2**40, timeout_s=60.0)))
    assert os.read(reader, 100) == b"half"

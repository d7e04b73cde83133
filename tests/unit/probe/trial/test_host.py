"""Host memory on a trial, and what a look from outside adds to it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn

from autobatch.devices.cpu import CpuDevice
from autobatch.devices.host import HostReading
from autobatch.devices.meter import ProcessMeter
from autobatch.probe.protocol import Limits, TimingPlan
from autobatch.probe.trial.host import HostBudgetError, HostWatch, with_meter
from autobatch.probe.trial.run import run_trial
from autobatch.records import Outcome, Trial, Unknown

GIB = 2**30
SAMPLES = [(torch.randn(4), torch.randn(3))] * 64
ON_HOST = pytest.mark.parametrize("is_on_host", [True, False])


class ScriptedHost:
    """Host memory as a test says."""

    def __init__(self, **reading: Any) -> None:
        self.reading = HostReading(
            **{
                "own_bytes": GIB,
                "loader_bytes": 0,
                "pinned_bytes": Unknown(reason="nothing is pinned"),
                "is_lower_bound": False,
                **reading,
            }
        )

    def reset_peak(self) -> None:
        pass

    def read(self) -> HostReading:
        return self.reading


class OwnMemoryDevice(CpuDevice):
    """A device that is not the CPU, as far as memory goes."""

    name = "cpu:0"


def _run(make_task: Any, device: Any, host: Any, **limits: Any) -> Trial:
    limits = {"budget_bytes": 2**40, **limits}
    task = make_task(nn.Linear(4, 3), dataset=SAMPLES)
    context = make_context(task, device=device, limits=Limits(**limits))
    return run_trial(context, 8, TimingPlan(min_steps=1, max_time_s=0.0), host=host)


def _meter(own: int, loader: int | Unknown) -> ProcessMeter:
    meter = ProcessMeter(lambda: own, lambda: loader)
    meter.look()
    return meter


def test_on_the_processor_the_loader_counts_against_the_budget(make_task: Any) -> None:
    host = ScriptedHost(loader_bytes=2 * GIB)
    trial = _run(make_task, CpuDevice(), host, budget_bytes=2 * GIB)
    assert trial.outcome is Outcome.OVER_BUDGET
    assert trial.peak_bytes == trial.host_peak_bytes > 2 * GIB
    assert trial.loader_bytes == 2 * GIB
    assert trial.message.endswith("2.0 GiB of it in loader workers")
    assert "host memory" not in trial.message


def test_on_a_device_the_loader_counts_against_a_budget_of_its_own(make_task: Any) -> None:
    host = ScriptedHost(loader_bytes=2 * GIB, pinned_bytes=GIB // 2)
    trial = _run(make_task, OwnMemoryDevice(), host, host_budget_bytes=2 * GIB)
    assert trial.outcome is Outcome.OVER_BUDGET
    assert trial.host_peak_bytes == 3 * GIB
    assert trial.peak_bytes < GIB
    assert trial.pinned_bytes == GIB // 2
    assert trial.message.startswith("host memory of 3.0 GiB exceeded the budget of 2.0 GiB")


@pytest.mark.parametrize("budget_bytes", [None, 4 * GIB])
def test_within_the_hosts_budget_or_without_one_a_trial_fits(
    budget_bytes: int | None, make_task: Any
) -> None:
    host = ScriptedHost(loader_bytes=2 * GIB)
    trial = _run(make_task, OwnMemoryDevice(), host, host_budget_bytes=budget_bytes)
    assert trial.fits
    assert trial.message == ""


def test_what_cannot_be_told_of_the_host_is_none_with_a_reason(make_task: Any) -> None:
    trial = _run(make_task, CpuDevice(), ScriptedHost(loader_bytes=Unknown(reason="no smaps")))
    assert trial.fits
    assert (trial.loader_bytes, trial.pinned_bytes) == (None, None)
    assert trial.unknown["loader_bytes"] == "no smaps"
    assert trial.unknown["pinned_bytes"] == "nothing is pinned"


def test_a_real_trial_without_a_loader_holds_what_its_process_holds(make_task: Any) -> None:
    trial = _run(make_task, CpuDevice(), None)
    assert trial.host_peak_bytes == trial.peak_bytes
    assert trial.loader_bytes == 0
    assert not trial.peak_is_lower_bound


def _trial(**fields: Any) -> Trial:
    return Trial(batch_size=8, outcome=Outcome.FITS, **fields)


@ON_HOST
def test_a_loader_that_held_more_for_a_while_raises_the_peak(is_on_host: bool) -> None:
    own = _trial(peak_bytes=5, host_peak_bytes=5, loader_bytes=2)
    seen = with_meter(own, _meter(1, 4), is_on_host=is_on_host)
    assert (seen.host_peak_bytes, seen.loader_bytes) == (7, 4)
    assert seen.peak_bytes == (7 if is_on_host else 5)


@ON_HOST
def test_a_look_that_saw_less_changes_nothing(is_on_host: bool) -> None:
    own = _trial(peak_bytes=5, host_peak_bytes=5, loader_bytes=2)
    assert with_meter(own, _meter(1, 1), is_on_host=is_on_host) == own


def test_of_a_dead_trial_what_was_seen_is_all_that_is_known() -> None:
    dead = Trial(batch_size=8, outcome=Outcome.KILLED)
    seen = with_meter(dead, _meter(30, 12), is_on_host=True)
    assert (seen.peak_bytes, seen.host_peak_bytes, seen.loader_bytes) == (42, 42, 12)


def test_without_a_look_nothing_is_known() -> None:
    dead = Trial(batch_size=8, outcome=Outcome.KILLED)
    assert with_meter(dead, ProcessMeter(lambda: 1, lambda: 0), is_on_host=True) == dead


@ON_HOST
def test_a_watch_ends_a_worker_at_the_budget_that_is_the_hosts(is_on_host: bool) -> None:
    limits = Limits(
        budget_bytes=100 if is_on_host else 1, host_budget_bytes=None if is_on_host else 100
    )
    own = [60]
    meter = ProcessMeter(lambda: own[0], lambda: 40)
    watch = HostWatch(meter, limits, is_on_host=is_on_host)
    watch.look()
    own[0] = 61
    with pytest.raises(HostBudgetError) as caught:
        watch.look()
    trial = caught.value.as_trial(8)
    assert trial.batch_size == 8
    assert trial.outcome is Outcome.OVER_BUDGET
    assert trial.host_peak_bytes == 101
    assert trial.message.startswith("ended when its ")
    assert ("host memory" in trial.message) is not is_on_host


def test_a_watch_without_a_budget_only_looks() -> None:
    watch = HostWatch(_meter(2**50, 0), Limits(budget_bytes=1), is_on_host=False)
    watch.look()
    assert watch.complete(_trial(peak_bytes=1)).fits


def test_a_watch_says_why_other_work_was_ended() -> None:
    meter = ProcessMeter(lambda: 61, lambda: 40)
    watch = HostWatch(meter, Limits(budget_bytes=100), is_on_host=True)
    told = "^ended when its memory of 101 B exceeded the budget of 100 B"
    with pytest.raises(HostBudgetError, match=told):
        watch.look()

"""Verdicts on memory."""

from __future__ import annotations

import pytest

from autobatch.check.judge.memory import judge_fit, judge_memory, not_judged
from autobatch.check.records import TargetLimits
from autobatch.records import MemoryBudget, RequirementName, Status

GIB = 2**30
BUDGET = MemoryBudget(
    capacity_bytes=10 * GIB,
    used_by_others_bytes=2 * GIB,
    headroom_fraction=0.02,
    budget_bytes=7 * GIB,
    bound_by="physical memory",
)


def judge_one(limits, peaks, baseline=None, *, is_lower_bound=False):
    (verdict,) = judge_memory(limits, peaks, BUDGET, baseline, is_lower_bound=is_lower_bound)
    return verdict


@pytest.mark.parametrize(
    ("limits", "status", "value"),
    [
        (TargetLimits(max_memory_bytes=4 * GIB), Status.MET, 4 * GIB),
        (TargetLimits(max_memory_bytes=4 * GIB - 1), Status.NOT_MET, 4 * GIB),
        (TargetLimits(min_headroom_fraction=0.4), Status.MET, 0.4),
        (TargetLimits(min_headroom_fraction=0.41), Status.NOT_MET, 0.4),
    ],
    ids=str,
)
def test_the_highest_peak_of_all_rounds_counts(limits, status, value) -> None:
    verdict = judge_one(limits, (3 * GIB, 4 * GIB, 3 * GIB))
    assert (verdict.status, verdict.value) == (status, value)


@pytest.mark.parametrize(
    "limits", [TargetLimits(max_memory_bytes=5 * GIB), TargetLimits(min_headroom_fraction=0.1)]
)
def test_a_lower_bound_can_refute_and_never_confirm(limits) -> None:
    assert judge_one(limits, (GIB,), is_lower_bound=True).status is Status.INCONCLUSIVE
    assert judge_one(limits, (8 * GIB,), is_lower_bound=True).status is Status.NOT_MET
    assert judge_one(limits, ()).status is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("factor", "status"),
    [(0.8, Status.MET), (1.0, Status.MET), (1.019, Status.INCONCLUSIVE), (1.05, Status.NOT_MET)],
)
def test_growth_beyond_the_tolerance_is_caught(make_measurement, factor, status) -> None:
    peaks = (1000 * 2**20, 1001 * 2**20, 1002 * 2**20, 1003 * 2**20)
    baseline = make_measurement(peaks_bytes=peaks)
    verdict = judge_one(TargetLimits(), tuple(round(factor * each) for each in peaks), baseline)
    assert verdict.requirement is RequirementName.BASELINE_MEMORY
    assert verdict.status is status
    assert verdict.value == pytest.approx(factor - 1)


def test_one_odd_peak_of_many_does_not_fail(make_measurement) -> None:
    baseline = make_measurement(peaks_bytes=(GIB,))
    assert judge_one(TargetLimits(), (*(GIB,) * 7, 2 * GIB), baseline).status is Status.MET


def test_a_size_that_failed_is_not_met_with_the_reason() -> None:
    assert judge_fit(64, "").status is Status.MET
    verdict = judge_fit(64, "out of memory")
    assert (verdict.status, verdict.reason) == (Status.NOT_MET, "out of memory")


def test_what_did_not_run_is_inconclusive(make_measurement) -> None:
    limits = TargetLimits(max_memory_bytes=1, min_headroom_fraction=0.5)
    verdicts = list(not_judged(limits, make_measurement(), "did not run"))
    assert len(verdicts) == 3
    assert {each.status for each in verdicts} == {Status.INCONCLUSIVE}

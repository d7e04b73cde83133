"""Verdicts on time: wholly within, wholly beyond, or open."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from autobatch.check.judge.looks import ALPHA
from autobatch.check.judge.timing import compare_times, judge_times, not_judged, precision_of
from autobatch.check.records import CheckRound, TargetLimits
from autobatch.records import RequirementName, Status


def judge_one(limits, now, baseline=None):
    (verdict,) = judge_times(limits, now, baseline, alpha=ALPHA)
    return verdict


def noisy(seed, center, count=24, spread=0.05):
    generator = random.Random(seed)
    return [center * 2.718281828 ** generator.gauss(0, spread) for _ in range(count)]


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (TargetLimits(max_step_time_s=0.012), Status.MET),
        (TargetLimits(max_step_time_s=0.008), Status.NOT_MET),
        (TargetLimits(max_step_time_s=0.01), Status.INCONCLUSIVE),
        (TargetLimits(min_samples_per_s=5000), Status.MET),
        (TargetLimits(min_samples_per_s=8000), Status.NOT_MET),
        (TargetLimits(min_samples_per_s=6400), Status.INCONCLUSIVE),
    ],
    ids=str,
)
def test_a_limit_is_met_beyond_or_open(make_measurement, limits, status) -> None:
    verdict = judge_one(limits, make_measurement(noisy(0, 0.01)))
    assert verdict.status is status
    assert verdict.low < verdict.value < verdict.high
    assert bool(verdict.reason) == (status is Status.INCONCLUSIVE)


def test_the_same_again_is_met_and_a_fifth_slower_is_not(make_measurement) -> None:
    before = make_measurement(noisy(1, 0.01, 48), noisy(2, 0.02, 48))
    same = make_measurement(noisy(3, 0.01, 48), noisy(4, 0.02, 48))
    slower = make_measurement(noisy(5, 0.012, 48), noisy(6, 0.02, 48))
    assert judge_one(TargetLimits(), same, before).status is Status.MET
    verdict = judge_one(TargetLimits(), slower, before)
    assert verdict.status is Status.NOT_MET
    assert verdict.requirement is RequirementName.BASELINE_STEP_TIME
    assert verdict.limit == 0.1, "as it was asked for, not 0.10000000000000009"
    assert 0.1 < verdict.low < verdict.value < verdict.high


def test_a_machine_that_is_slower_as_a_whole_is_no_regression(make_measurement) -> None:
    before = make_measurement(noisy(1, 0.01, 48), noisy(2, 0.02, 48))
    tired = make_measurement(noisy(3, 0.013, 48), noisy(4, 0.026, 48))
    assert judge_one(TargetLimits(), tired, before).status is Status.MET


def test_without_a_reference_more_is_left_open(make_measurement) -> None:
    before, slower = make_measurement(noisy(1, 0.01, 48)), make_measurement(noisy(3, 0.0115, 48))
    assert judge_one(TargetLimits(), slower, before).status is Status.INCONCLUSIVE
    ratio = compare_times(
        make_measurement(noisy(1, 0.01, 48), noisy(2, 0.02, 48)),
        make_measurement(noisy(3, 0.01, 48), noisy(4, 0.02, 48)),
    )
    assert compare_times(slower, before).error > ratio.error


def test_without_a_reference_a_cpu_is_taken_to_stray_further_than_a_gpu(make_measurement) -> None:
    before, slower = [0.01] * 9, [0.013] * 9
    found = {
        device: judge_one(
            TargetLimits(),
            make_measurement(slower, device=device),
            make_measurement(before, device=device),
        ).status
        for device in ("cpu", "cuda:0")
    }
    assert found == {"cpu": Status.INCONCLUSIVE, "cuda:0": Status.NOT_MET}


def test_a_faster_step_is_met(make_measurement) -> None:
    before, now = make_measurement([0.01] * 9), make_measurement([0.007] * 9)
    verdict = judge_one(TargetLimits(), now, before)
    assert verdict.status is Status.MET
    assert verdict.value == pytest.approx(-0.3)


def test_two_rounds_are_too_few_to_judge(make_measurement) -> None:
    verdict = judge_one(TargetLimits(max_step_time_s=9.0), make_measurement([0.01, 0.01]))
    assert verdict.status is Status.INCONCLUSIVE
    assert "too few rounds" in verdict.reason


def test_what_was_not_judged_is_inconclusive_each_with_the_reason(make_measurement) -> None:
    limits = TargetLimits(max_step_time_s=1.0, min_samples_per_s=1.0)
    verdicts = list(not_judged(limits, make_measurement(), "it rained"))
    assert [each.requirement.value for each in verdicts] == [
        "max-step-time",
        "min-throughput",
        "baseline-step-time",
    ]
    assert {(each.status, each.reason) for each in verdicts} == {(Status.INCONCLUSIVE, "it rained")}
    assert list(not_judged(TargetLimits(), None, "it rained")) == []


def test_a_round_counts_once_however_many_steps_it_has(make_measurement) -> None:
    few = CheckRound(step_times_s=(0.1, 0.2, 0.3), reference_times_s=(0.1,))
    many = CheckRound(step_times_s=(0.2,) * 100, reference_times_s=(0.05, 0.1, 0.9))
    before = make_measurement([0.1] * 4, [0.1] * 4)
    ratio = compare_times(replace(before, rounds=(few, few, many, many)), before)
    assert ratio.center == pytest.approx(math.log(2))


def test_more_rounds_are_more_precise(make_measurement) -> None:
    few = make_measurement(noisy(1, 0.01, 8), noisy(2, 0.02, 8))
    many = make_measurement(noisy(1, 0.01, 64), noisy(2, 0.02, 64))
    assert precision_of(many) < precision_of(few)

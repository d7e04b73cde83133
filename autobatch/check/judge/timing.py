"""Verdicts on time, from rounds.

A reference is the user's own code, usually the code that a change is made to: what disturbs the
machine disturbs it as it disturbs the target. So its time is taken off the target's, round by
round, and what is compared with a baseline is the ratio of the two.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

from autobatch.check.judge.location import Location, locate
from autobatch.check.records import (
    FEWEST_ROUNDS,
    NO_REFERENCE,
    CheckRound,
    Measurement,
    TargetLimits,
    Verdict,
)
from autobatch.records import RequirementName, Status

# What two sessions of the same may differ by on their own: standard deviation of the log of the
# step time, on a CPU that is shared with others and elsewhere, and of its ratio to the reference's.
_DRIFT_OF_CPU = 0.15
_DRIFT = 0.05
_DRIFT_OF_RATIO = 0.015
# A baseline known this well adds little to the error of what is compared with it.
PRECISE_ERROR = 0.012
_OPEN = "the interval holds the limit"


def judge_times(
    limits: TargetLimits, now: Measurement, baseline: Measurement | None, *, alpha: float
) -> Iterator[Verdict]:
    """Judge every requirement on time.

    Args:
        limits: What is required.
        now: What was measured.
        baseline: What to compare with, ``None`` for nothing.
        alpha: Probability of error on either side.
    """
    if len(now.rounds) < FEWEST_ROUNDS:
        yield from not_judged(limits, baseline, "too few rounds were measured in the time")
        return
    step = locate(_log_times(now.rounds))
    if limits.max_step_time_s is not None:
        yield _held_against(
            RequirementName.MAX_STEP_TIME, limits.max_step_time_s, step, alpha, at_most=True
        )
    if limits.min_samples_per_s is not None:
        rate = replace(step, center=math.log(now.num_samples) - step.center)
        yield _held_against(
            RequirementName.MIN_THROUGHPUT, limits.min_samples_per_s, rate, alpha, at_most=False
        )
    if baseline is not None:
        growth = compare_times(now, baseline)
        tolerance = limits.tolerance_fraction
        ratio = _held_against(
            RequirementName.BASELINE_STEP_TIME, 1 + tolerance, growth, alpha, at_most=True
        )
        yield _relative(ratio, tolerance)


def not_judged(limits: TargetLimits, baseline: Measurement | None, reason: str) -> list[Verdict]:
    """Report every requirement on time as inconclusive.

    Args:
        limits: What is required.
        baseline: What would be compared with, if anything.
        reason: Why nothing was judged.
    """
    return Verdict.all_inconclusive(
        reason,
        (RequirementName.MAX_STEP_TIME, limits.max_step_time_s),
        (RequirementName.MIN_THROUGHPUT, limits.min_samples_per_s),
        (RequirementName.BASELINE_STEP_TIME, limits.tolerance_fraction if baseline else None),
    )


def compare_times(now: Measurement, baseline: Measurement) -> Location:
    """Compare the step time with that of a baseline.

    With a reference both are relative to it, and far smaller changes are told from none.

    Args:
        now: The measurement of this check.
        baseline: The measurement to compare with.

    Returns:
        Log of the step time now over that of the baseline.
    """
    drift = _DRIFT_OF_RATIO
    if now.reference == NO_REFERENCE:
        drift = _DRIFT_OF_CPU if now.device == "cpu" else _DRIFT
    return _locate(now).minus(_locate(baseline), drift=drift)


def precision_of(measurement: Measurement) -> float:
    """Standard error of the log of what a later measurement is compared with."""
    return _locate(measurement).error


def _locate(measurement: Measurement) -> Location:
    """Where the log of the step time lies, or with a reference of the ratio to its step time."""
    if measurement.reference == NO_REFERENCE:
        return locate(_log_times(measurement.rounds))
    return locate(
        [
            math.log(median(each.step_times_s) / median(each.reference_times_s))
            for each in measurement.rounds
        ]
    )


def _log_times(rounds: tuple[CheckRound, ...]) -> list[float]:
    """By round. A round counts once, however many steps it has."""
    return [math.log(median(each.step_times_s)) for each in rounds]


def _held_against(
    name: RequirementName, limit: float, location: Location, alpha: float, *, at_most: bool
) -> Verdict:
    low, high = location.interval(alpha)
    line = math.log(limit)
    is_within = high <= line if at_most else low >= line
    is_beyond = low > line if at_most else high < line
    status = Status.of(is_met=is_within, is_violated=is_beyond)
    return Verdict(
        requirement=name,
        limit=limit,
        status=status,
        value=math.exp(location.center),
        low=math.exp(low),
        high=math.exp(min(high, 700.0)),
        reason=_OPEN if status is Status.INCONCLUSIVE else "",
    )


def _relative(verdict: Verdict, limit: float) -> Verdict:
    """The same verdict in shares more or less rather than in ratios."""
    assert isinstance(verdict.value, float)
    assert verdict.low is not None and verdict.high is not None
    return Verdict(
        requirement=verdict.requirement,
        limit=limit,
        status=verdict.status,
        value=verdict.value - 1,
        low=verdict.low - 1,
        high=verdict.high - 1,
        reason=verdict.reason,
    )

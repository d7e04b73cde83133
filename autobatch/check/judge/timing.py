"""Verdicts on time, from rounds."""

from __future__ import annotations

import math
from collections.abc import Iterator

from autobatch.check.judge.coupling import Coupling
from autobatch.check.judge.location import Location
from autobatch.check.measurement import FEWEST_ROUNDS, Measurement
from autobatch.check.records import BUILTIN_REFERENCE, NO_REFERENCE, TargetLimits, Verdict
from autobatch.records import RequirementName, Status

# What disturbs a machine hits the code that a change was made to as it hits the target, and a
# built-in reference more or less than that.
_WITHOUT_REFERENCE = Coupling(slope=0.0, drift=0.05)
_WITH_OWN_CODE = Coupling(slope=1.0, drift=0.015)
_WITH_BUILTIN = Coupling(slope=0.6, slope_error=0.2, slope_drift=0.1, drift=0.015)
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
    step = _WITHOUT_REFERENCE.locate(now.rounds)
    if limits.max_step_time_s is not None:
        yield _held_against(
            RequirementName.MAX_STEP_TIME, limits.max_step_time_s, step, alpha, at_most=True
        )
    if limits.min_samples_per_s is not None:
        rate = Location(
            center=math.log(now.batch_size) - step.center, error=step.error, freedom=step.freedom
        )
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


def not_judged(
    limits: TargetLimits, baseline: Measurement | None, reason: str
) -> Iterator[Verdict]:
    """Every requirement on time, as inconclusive."""
    for name, limit in (
        (RequirementName.MAX_STEP_TIME, limits.max_step_time_s),
        (RequirementName.MIN_THROUGHPUT, limits.min_samples_per_s),
        (RequirementName.BASELINE_STEP_TIME, limits.tolerance_fraction if baseline else None),
    ):
        if limit is not None:
            yield Verdict.inconclusive(name, limit, reason)


def compare_times(now: Measurement, baseline: Measurement) -> Location:
    """Log of how much longer a step takes now than in the baseline.

    With a reference, what it says that the machine did is taken off.
    """
    coupling = _coupling_of(now).learn_from(baseline.rounds, now.rounds)
    return coupling.compare(now.rounds, baseline.rounds)


def precision_of(measurement: Measurement) -> float:
    """Standard error of the log of what a later measurement is compared with."""
    coupling = _coupling_of(measurement).learn_from(measurement.rounds)
    return coupling.locate(measurement.rounds).error


def _coupling_of(measurement: Measurement) -> Coupling:
    if measurement.reference == NO_REFERENCE:
        return _WITHOUT_REFERENCE
    is_builtin = measurement.reference.partition(":")[0] == BUILTIN_REFERENCE
    return _WITH_BUILTIN if is_builtin else _WITH_OWN_CODE


def _held_against(
    name: RequirementName, limit: float, location: Location, alpha: float, *, at_most: bool
) -> Verdict:
    low, high = location.interval(alpha)
    line = math.log(limit)
    is_within = high <= line if at_most else low >= line
    is_beyond = low > line if at_most else high < line
    status = Status.MET if is_within else Status.NOT_MET if is_beyond else Status.INCONCLUSIVE
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

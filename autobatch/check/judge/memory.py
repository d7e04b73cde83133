"""Verdicts on memory, from peaks.

Peaks repeat far better than times: each is judged by the quarter of the rounds that speaks for
it least, with no allowance for noise beyond that.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from autobatch.check.records import Measurement, TargetLimits, Verdict
from autobatch.records import MemoryBudget, RequirementName, Status

_UNREAD = "the device does not tell the peak"
_LOWER_BOUND = "the peak is only a lower bound here: this device keeps no high-water mark"
_OPEN = "the peaks of the rounds lie on both sides of the limit"


def judge_memory(
    limits: TargetLimits,
    peaks_bytes: tuple[int, ...],
    budget: MemoryBudget,
    baseline: Measurement | None,
    *,
    is_lower_bound: bool,
) -> Iterator[Verdict]:
    """Judge every requirement on memory.

    Args:
        limits: What is required.
        peaks_bytes: The peak of each round.
        budget: What memory there is.
        baseline: What to compare with, ``None`` for nothing.
        is_lower_bound: Whether the real peaks may have been higher than those read.
    """
    peak_bytes = max(peaks_bytes, default=None)
    most_bytes, least_free = limits.max_memory_bytes, limits.min_headroom_fraction
    if most_bytes is not None:
        is_met = peak_bytes is not None and peak_bytes <= most_bytes
        yield _absolute(RequirementName.MAX_MEMORY, most_bytes, peak_bytes, is_met, is_lower_bound)
    if least_free is not None:
        headroom = _find_headroom(peak_bytes, budget)
        is_met = headroom is not None and headroom >= least_free
        yield _absolute(RequirementName.MIN_HEADROOM, least_free, headroom, is_met, is_lower_bound)
    if baseline is not None:
        yield _growth(limits.memory_tolerance_fraction, peaks_bytes, baseline.peaks_bytes)


def judge_fit(batch_size: int, failure: str) -> Verdict:
    """Whether the size ran inside the memory that there is.

    Args:
        batch_size: The size.
        failure: How it failed, or empty if it did not.
    """
    return Verdict(
        requirement=RequirementName.FITS,
        limit=batch_size,
        status=Status.NOT_MET if failure else Status.MET,
        reason=failure,
    )


def not_judged(limits: TargetLimits, baseline: Measurement | None, reason: str) -> list[Verdict]:
    """Report every requirement on memory as inconclusive.

    Args:
        limits: What is required.
        baseline: What would be compared with, if anything.
        reason: Why nothing was judged.
    """
    return Verdict.all_inconclusive(
        reason,
        (RequirementName.MAX_MEMORY, limits.max_memory_bytes),
        (RequirementName.MIN_HEADROOM, limits.min_headroom_fraction),
        (RequirementName.BASELINE_MEMORY, limits.memory_tolerance_fraction if baseline else None),
    )


def _find_headroom(peak_bytes: int | None, budget: MemoryBudget) -> float | None:
    if peak_bytes is None or not budget.capacity_bytes:
        return None
    available_bytes = budget.capacity_bytes - budget.used_by_others_bytes
    return (available_bytes - peak_bytes) / budget.capacity_bytes


def _absolute(
    name: RequirementName, limit: float, value: float | None, is_met: bool, is_lower_bound: bool
) -> Verdict:
    if value is None:
        return Verdict.inconclusive(name, limit, _UNREAD)
    if is_met and is_lower_bound:
        return Verdict.inconclusive(name, limit, _LOWER_BOUND, value)
    status = Status.MET if is_met else Status.NOT_MET
    return Verdict(requirement=name, limit=limit, status=status, value=value)


def _growth(limit: float, now: tuple[int, ...], before: tuple[int, ...]) -> Verdict:
    name = RequirementName.BASELINE_MEMORY
    if not now or not before:
        return Verdict.inconclusive(name, limit, _UNREAD)
    low = _quarter(now, 0.25) / _quarter(before, 0.75) - 1
    high = _quarter(now, 0.75) / _quarter(before, 0.25) - 1
    status = Status.of(is_met=high <= limit, is_violated=low > limit)
    return Verdict(
        requirement=name,
        limit=limit,
        status=status,
        value=median(now) / median(before) - 1,
        low=low,
        high=high,
        reason=_OPEN if status is Status.INCONCLUSIVE else "",
    )


def _quarter(values: tuple[int, ...], share: float) -> int:
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))]

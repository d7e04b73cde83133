"""Verdicts on memory that was predicted.

What a process holds besides the allocator is known within a band. A limit inside the band is left
open. Two predictions for one GPU have the same band, which a comparison leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from autobatch.check.judge.likeness import note_others, refuse_another_task
from autobatch.check.predicted_memory import PredictedMemory, find_grown
from autobatch.check.records import TargetLimits, Verdict
from autobatch.records import RequirementName, Status
from autobatch.units import format_bytes

_IN_BAND = "the limit lies within what is not known of the memory besides PyTorch's allocator"


def judge_prediction(
    limits: TargetLimits,
    now: PredictedMemory,
    memory_bytes: int,
    baseline: PredictedMemory | None,
    *,
    fits: bool | None,
) -> Iterator[Verdict]:
    """Judge every requirement on memory.

    Args:
        limits: What is required.
        now: What was predicted.
        memory_bytes: Memory of the GPU.
        baseline: What to compare with, ``None`` for nothing.
        fits: Whether it fits whatever is assumed, or does not; ``None`` if that depends.
    """
    for verdict in _judge(limits, now, memory_bytes, baseline, fits):
        yield replace(verdict, is_predicted=True)


def _judge(
    limits: TargetLimits,
    now: PredictedMemory,
    memory_bytes: int,
    baseline: PredictedMemory | None,
    fits: bool | None,
) -> Iterator[Verdict]:
    yield Verdict(
        requirement=RequirementName.FITS,
        limit=now.batch_size,
        status=Status.of(is_met=fits, is_violated=fits is False),
        reason=_IN_BAND if fits is None else "",
    )
    peaks = (now.low_bytes, now.peak_bytes, now.high_bytes)
    most_bytes, least_free = limits.max_memory_bytes, limits.min_headroom_fraction
    if most_bytes is not None:
        yield _within(RequirementName.MAX_MEMORY, most_bytes, *peaks)
    if least_free is not None:
        high, value, low = ((memory_bytes - each) / memory_bytes for each in peaks)
        verdict = _within(RequirementName.MIN_HEADROOM, -least_free, -high, -value, -low)
        yield replace(verdict, limit=least_free, value=value, low=low, high=high)
    if baseline is not None:
        yield _compare(limits.memory_tolerance_fraction, now, baseline)


def _within(name: RequirementName, limit: float, low: float, value: float, high: float) -> Verdict:
    """Whether a figure is at most a limit, whatever of its band it is."""
    status = Status.of(is_met=high <= limit, is_violated=low > limit)
    return Verdict(
        requirement=name,
        limit=limit,
        status=status,
        value=value,
        low=low,
        high=high,
        reason=_IN_BAND if status is Status.INCONCLUSIVE else "",
    )


def _compare(limit: float, now: PredictedMemory, baseline: PredictedMemory) -> Verdict:
    growth = now.peak_bytes / baseline.peak_bytes - 1
    grown = find_grown(now.modules_bytes, baseline.modules_bytes)
    reason = ""
    if growth > limit and grown is not None:
        name, before_bytes, now_bytes = grown
        where = f"module {name}" if name else "several modules"
        then, today = format_bytes(before_bytes), format_bytes(now_bytes)
        reason = f"most of it in {where}: {then} then, {today} now"
    return Verdict(
        requirement=RequirementName.BASELINE_MEMORY,
        limit=limit,
        status=Status.MET if growth <= limit else Status.NOT_MET,
        value=growth,
        reason=reason,
    )


def find_notes(now: PredictedMemory, baseline: PredictedMemory) -> list[str]:
    """What else is not as in the baseline.

    Args:
        now: What was predicted.
        baseline: What to compare with.

    Raises:
        BaselineError: If they cannot be compared.
    """
    refuse_another_task(
        ("batch size", baseline.batch_size, now.batch_size),
        ("precision", baseline.precision, now.precision),
        ("GPU", baseline.gpu, now.gpu),
    )
    before, here = baseline.versions, now.versions
    return note_others(
        *((name, before.get(name, "none"), here.get(name, "none")) for name in {**before, **here}),
        ("target", baseline.target, now.target),
    )

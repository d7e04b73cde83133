"""Which size to train with, and why, in one sentence."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from autobatch.decide.decision import USUAL_BATCH_SIZE, Decision
from autobatch.records import Goal, Settings
from autobatch.units import format_count, format_fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chosen size.

    Attributes:
        batch_size: A size that ran and fitted.
        reason: Why this one.
    """

    batch_size: int
    reason: str


def choose(settings: Settings, decision: Decision, fitting: Collection[int]) -> Choice:
    """Pick the size that the goal asks for.

    Args:
        settings: For the goal, the tolerance and the global batch.
        decision: What is known about the throughputs.
        fitting: Sizes that ran and fitted.

    Returns:
        The size and the reason for it.
    """
    if settings.goal is Goal.MEMORY:
        return Choice(
            batch_size=max(fitting), reason="the largest size that ran inside the memory budget"
        )
    if decision.asked.worth is not None:
        return Choice(batch_size=decision.answer, reason=decision.asked.worth_reason)
    choice = _choose_fastest(settings, decision, fitting)
    if settings.goal is Goal.EFFICIENCY:
        reason = f"{choice.reason}; what its samples are worth is not known"
        choice = Choice(batch_size=choice.batch_size, reason=reason)
    return _choose_exact(settings, decision, choice, fitting)


def find_exact_size(settings: Settings, chosen: int) -> int | None:
    """A size that divides the global batch, where the chosen one does not.

    Args:
        settings: For the goal, the global batch and the number of devices.
        chosen: The size chosen for its throughput.

    Returns:
        The largest divisor of each device's part up to the chosen size; ``None`` if there is
        no global batch to reach, or the chosen size divides it already.
    """
    if settings.global_batch_size is None or settings.goal is Goal.MEMORY:
        return None
    share, multiple = (
        settings.global_batch_size // settings.num_devices,
        settings.grid_multiple or 1,
    )
    if share % multiple:
        return None
    divisor = multiple * largest_divisor(share // multiple, chosen // multiple)
    return None if divisor == chosen else divisor


def largest_divisor(per_device: int, at_most: int) -> int:
    """Largest batch size that divides the part of a global batch on one device.

    Args:
        per_device: Samples per optimizer step and device.
        at_most: Largest batch size to consider, at least 1.
    """
    small = (size for size in range(1, int(per_device**0.5) + 1) if per_device % size == 0)
    divisors = {divisor for size in small for divisor in (size, per_device // size)}
    return max(divisor for divisor in divisors if divisor <= at_most)


def _choose_fastest(settings: Settings, decision: Decision, fitting: Collection[int]) -> Choice:
    answer, yours = decision.answer, decision.asked.your_batch_size
    if not decision.is_sure_of(answer):
        usual = yours or USUAL_BATCH_SIZE
        fallback = max((size for size in fitting if size <= usual), default=answer)
        whose = f"{fallback} is yours" if fallback == yours else f"{fallback} is a common choice"
        return Choice(
            batch_size=fallback,
            reason=f"timings scatter too much to tell sizes apart, and {whose}",
        )
    tolerance = format_fraction(settings.tolerance_fraction)
    if answer == yours and answer != decision.knee:
        return Choice(
            batch_size=answer, reason=f"yours, and within {tolerance} of the best throughput"
        )
    return Choice(
        batch_size=answer, reason=f"the smallest size within {tolerance} of the best throughput"
    )


def _choose_exact(
    settings: Settings, decision: Decision, choice: Choice, fitting: Collection[int]
) -> Choice:
    """Prefer a size that divides the global batch, if it ran and is about as fast."""
    size = find_exact_size(settings, choice.batch_size)
    if size is None or size not in fitting or size not in decision.rates.sizes:
        return choice
    log_ratio, error = decision.rates.log_ratio(size, choice.batch_size)
    if log_ratio + error < -settings.tolerance_fraction:
        return choice
    assert settings.global_batch_size is not None
    return Choice(
        batch_size=size,
        reason="the largest size that is about as fast as any and divides the global batch of "
        f"{format_count(settings.global_batch_size)}",
    )

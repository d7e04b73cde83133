"""Which size to train with, and why, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.recommend.accumulation import largest_divisor
from autobatch.records import Efficiency, Goal, Settings
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


def choose(
    settings: Settings, *, knee: int, largest_run: int, efficiency: Efficiency | None = None
) -> Choice:
    """Pick the size that the goal asks for.

    Args:
        settings: For the goal and the tolerance.
        knee: Smallest size within the tolerance of the best throughput.
        largest_run: Largest size that ran and fitted.
        efficiency: Goodputs, where the noise scale is known.
    """
    if settings.goal is Goal.MEMORY:
        return Choice(
            batch_size=largest_run, reason="the largest size that ran inside the memory budget"
        )
    tolerance = format_fraction(settings.tolerance_fraction)
    reason = f"the smallest size within {tolerance} of the best throughput"
    if settings.goal is Goal.EFFICIENCY:
        if efficiency is not None:
            return _choose_efficient(efficiency)
        reason += "; what its samples are worth is not known"
    return Choice(batch_size=knee, reason=reason)


def _choose_efficient(efficiency: Efficiency) -> Choice:
    noise_scale = format_count(efficiency.scenarios[0].noise_scale)
    at_least = "at least " if efficiency.noise_is_lower_bound else ""
    return Choice(
        batch_size=efficiency.batch_size,
        reason="the highest throughput x efficiency of the sizes that ran, at a gradient noise "
        f"scale of {at_least}{noise_scale} samples",
    )


def find_exact_size(settings: Settings, chosen: int) -> int | None:
    """A size that divides the global batch, where the chosen one does not.

    Returns:
        The largest divisor of each device's share up to the chosen size; ``None`` if there is
        no global batch to reach, or the chosen size divides it already.
    """
    if settings.global_batch_size is None:
        return None
    share = settings.global_batch_size // settings.num_devices
    divisor = largest_divisor(share, chosen)
    return None if divisor == chosen else divisor


def choose_exact(settings: Settings, size: int) -> Choice:
    """The choice of a size for dividing the global batch."""
    assert settings.global_batch_size is not None
    return Choice(
        batch_size=size,
        reason="the largest size that is about as fast as any and divides the global batch of "
        f"{format_count(settings.global_batch_size)}",
    )

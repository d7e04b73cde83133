"""What is known about the memory limit: the bracket between what fitted and what was refuted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autobatch.decide.numbers import NUMBERS
from autobatch.records import Outcome, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """Evidence about the memory limit, from sizes that ran.

    Attributes:
        fitted: Largest size that ran and fitted, 0 if none did.
        refuted: Smallest size that ran and did not fit, ``None`` if all fitted.
    """

    fitted: int
    refuted: int | None

    def excludes(self, size: int) -> bool:
        """Whether this size, or a smaller one, ran and did not fit."""
        return self.refuted is not None and size >= self.refuted


def find_bracket(trials: Mapping[int, Trial]) -> Bracket:
    """Find the bracket that the trials imply."""
    refuted = min((size for size, trial in trials.items() if not trial.fits), default=None)
    fitted = max(
        (
            size
            for size, trial in trials.items()
            if trial.fits and (refuted is None or size < refuted)
        ),
        default=0,
    )
    return Bracket(fitted=fitted, refuted=refuted)


def measured_peaks(trials: Mapping[int, Trial]) -> dict[int, int]:
    """Peaks of the trials that fitted, by batch size, ascending."""
    return {
        size: trial.peak_bytes
        for size, trial in sorted(trials.items())
        if trial.outcome is Outcome.FITS and trial.peak_bytes is not None
    }


def measured_needs(trials: Mapping[int, Trial]) -> dict[int, int]:
    """What the trials that fitted could not have run without, by batch size, ascending."""
    return {
        size: trial.needed_bytes
        for size, trial in sorted(trials.items())
        if trial.outcome is Outcome.FITS and trial.needed_bytes is not None
    }


def measured_host_peaks(trials: Mapping[int, Trial]) -> dict[int, int]:
    """Peaks of host memory of the trials that fitted, by batch size, ascending."""
    return {
        size: trial.host_peak_bytes
        for size, trial in sorted(trials.items())
        if trial.outcome is Outcome.FITS and trial.host_peak_bytes is not None
    }


def lower_bound_bytes(
    trials: Mapping[int, Trial], size: int, *, uncertainty_fraction: float
) -> float:
    """Bound from below the memory that a size above all measured ones needs.

    Peak memory is convex in the batch size, so the line through the last two measured sizes
    can only underestimate. An allocator may deviate from it by ``uncertainty_fraction`` of the
    growth, and two peaks of one size differ by up to 2 %.

    What a caching allocator holds beyond the tensors does not count: it gives that back at its
    limit.

    Args:
        trials: All trials, by batch size.
        size: A batch size above all that fitted.
        uncertainty_fraction: How far memory growth may deviate from a straight line.

    Returns:
        Bytes; 0 if the peaks allow no bound.
    """
    if not has_line(trials):
        return 0.0
    (small, small_peak), (large, large_peak) = list(measured_needs(trials).items())[-2:]
    slope = max(0.0, (large_peak - small_peak) / (large - small))
    growth = slope * (size - large) * (1 - uncertainty_fraction)
    return (large_peak + growth) * (1 - NUMBERS.peak_noise_fraction)


def has_line(trials: Mapping[int, Trial]) -> bool:
    """Whether the sizes that fitted say what larger ones need at least.

    On a GPU a library may take workspace at one size and not at the next, so there three sizes
    must lie on a line before it is believed.
    """
    needs = measured_needs(trials)
    if len(needs) < 2 or not is_monotone(needs):
        return False
    return trials[max(needs)].peak_reserved_bytes is None or _goes_on_straight(needs)


def _goes_on_straight(needs_bytes: Mapping[int, int]) -> bool:
    """Whether the last size needs no more than the line through the two before it says."""
    if len(needs_bytes) < 3:
        return False
    (first, first_need), (middle, middle_need), (last, last_need) = list(needs_bytes.items())[-3:]
    slope = (middle_need - first_need) / (middle - first)
    expected = middle_need + slope * (last - middle)
    return last_need <= expected * (1 + NUMBERS.peak_noise_fraction)


def slack_bytes(peak_bytes: int) -> float:
    """How much less memory a larger size may need than one with this peak."""
    return max(NUMBERS.peak_slack_bytes, NUMBERS.peak_slack_fraction * peak_bytes)


def is_monotone(peaks_bytes: Mapping[int, int]) -> bool:
    """Whether no size needs much less memory than a smaller one."""
    highest = 0
    for _, peak in sorted(peaks_bytes.items()):
        if peak < highest - slack_bytes(highest):
            return False
        highest = max(highest, peak)
    return True

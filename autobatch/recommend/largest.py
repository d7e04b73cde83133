"""The largest size that fits: what ran, and how far beyond it the memory line is believed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autobatch.decide.bracket import find_bracket, measured_host_peaks, measured_peaks
from autobatch.decide.memory import fit_memory
from autobatch.decide.step import Rules, is_refuted, predict_largest
from autobatch.records import Outcome, Trial

# Peaks that fit a line well over a range say little of sizes far beyond it: n x n matrices are
# not seen beside the libraries at n = 512, and fill the memory at n = 32,768.
_FARTHEST_RATIO = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Largest:
    """The largest size that fits.

    Attributes:
        batch_size: The size.
        was_run: Whether it ran; else the memory line predicts it.
        is_lower_bound: Whether larger ones may fit: none failed, and the memory line does not
            rule twice the size out.
    """

    batch_size: int
    was_run: bool
    is_lower_bound: bool


def find_largest(rules: Rules, trials: Mapping[int, Trial]) -> Largest:
    """What is known of the largest size that fits.

    A prediction is made up to eight times the largest size that ran, and only where the peaks
    grow in proportion to the size: the parabola through the last three must agree that it fits.

    Args:
        rules: For the candidates and the budgets.
        trials: All trials, by batch size; at least one of them fitted.
    """
    fitted, predicted = find_bracket(trials).fitted, predict_largest(rules, trials)
    is_near = predicted <= _FARTHEST_RATIO * fitted
    is_predicted = fitted < predicted and is_near and _is_affine(rules, trials, predicted)
    size = predicted if is_predicted else fitted
    was_run = size == fitted
    is_known = _ends_at(rules, trials, size) if was_run else _limit(rules, trials) < 2 * size
    return Largest(batch_size=size, was_run=was_run, is_lower_bound=not is_known)


def _ends_at(rules: Rules, trials: Mapping[int, Trial], size: int) -> bool:
    """Whether a larger size failed, or twice this one cannot fit.

    That the memory line expects twice the size not to fit is no knowledge: where a library takes
    workspace at one size and not at the next, or an allocator's cache is part of the peaks, it may.
    """
    has_failed = any(
        not trial.fits and trial.outcome is not Outcome.TIMED_OUT
        for failed, trial in trials.items()
        if failed > size
    )
    return has_failed or is_refuted(rules, trials, 2 * size)


def _limit(rules: Rules, trials: Mapping[int, Trial]) -> float:
    """Where the memory lines meet the budgets."""
    pairs = (
        (measured_peaks(trials), rules.budget_bytes),
        (measured_host_peaks(trials), rules.host_budget_bytes),
    )
    curves = [(fit_memory(peaks), budget_bytes) for peaks, budget_bytes in pairs]
    return min(
        (curve.batch_size_at(budget) for curve, budget in curves if curve and budget is not None),
        default=float("inf"),
    )


def _is_affine(rules: Rules, trials: Mapping[int, Trial], size: int) -> bool:
    """Whether a size fits by the parabola through the last three peaks as well as by the line."""
    peaks = list(measured_peaks(trials).items())[-3:]
    if len(peaks) < 3:
        return False
    (first, first_peak), (middle, middle_peak), (last, last_peak) = peaks
    before = (middle_peak - first_peak) / (middle - first)
    after = (last_peak - middle_peak) / (last - middle)
    bend = max(0.0, (after - before) / (last - first))
    expected = last_peak + after * (size - last) + bend * (size - last) * (size - middle)
    return expected <= rules.budget_bytes

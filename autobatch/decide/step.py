"""The next size to run, or why there is none.

All goals walk the same grid with the same bracket. For ``throughput`` and ``efficiency`` the
search climbs, and stops where more is no longer faster. For ``memory`` it jumps to where the
memory line meets the budget and tests the boundary itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autobatch.decide.bracket import (
    Bracket,
    find_bracket,
    is_monotone,
    lower_bound_bytes,
    measured_host_peaks,
    measured_peaks,
)
from autobatch.decide.grid import Grid
from autobatch.decide.memory import fit_memory
from autobatch.decide.posterior import draw_to_curve
from autobatch.decide.rates import estimate_rates
from autobatch.decide.stop import is_on_plateau
from autobatch.decide.throughput import fit_throughput
from autobatch.records import Goal, StopReason, Trial

# Growth below this share of the peak says nothing of where the line leads.
_TELLING_GROWTH_FRACTION = 0.05
_MAX_JUMP = 64
_CAREFUL_JUMP = 4
# Small sizes make the line too steep, since allocators round up. A size in vain takes less time
# than one more on the way there.
_HOPEFUL_RATIO = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A size to run, or the end.

    Attributes:
        batch_size: The next size, ``None`` at the end.
        stop_reason: Why the search ends, ``None`` before that.
    """

    batch_size: int | None = None
    stop_reason: StopReason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a search goes by.

    Attributes:
        grid: The candidates.
        goal: What to find.
        tolerance_fraction: How far below the best throughput an answer may lie.
        budget_bytes: Memory that a trial may use.
        uncertainty_fraction: How far added memory may lie from a straight line.
        host_budget_bytes: Host memory that a trial may use, where that is a budget of its own.
    """

    grid: Grid
    goal: Goal
    tolerance_fraction: float
    budget_bytes: int
    uncertainty_fraction: float
    host_budget_bytes: int | None = None


def next_step(rules: Rules, trials: Mapping[int, Trial]) -> Step:
    """Decide what to run next.

    Args:
        rules: What to go by.
        trials: All trials so far, by batch size.

    Returns:
        A size that has not run yet, or the reason to stop.
    """
    if not trials:
        return Step(batch_size=rules.grid.sizes[0])
    bracket = find_bracket(trials)
    if bracket.fitted == 0:
        return Step(stop_reason=StopReason.MEMORY)
    # Where throughput is flat, more samples per step are worth no more either.
    if rules.goal is not Goal.MEMORY and _is_flat(rules, trials):
        return Step(stop_reason=StopReason.PLATEAU)
    following = rules.grid.after(bracket.fitted)
    if following is None:
        return Step(stop_reason=rules.grid.end)
    if bracket.excludes(following) or _is_out(rules, trials, following):
        return _refine(rules, trials, bracket, following)
    if rules.goal is not Goal.MEMORY:
        return Step(batch_size=following)
    return Step(batch_size=_jump(rules, trials, bracket, following))


def predict_largest(rules: Rules, trials: Mapping[int, Trial]) -> int:
    """The largest candidate that should fit, by the memory curves; at least what has fitted."""
    bracket, limit = find_bracket(trials), _expected_limit(rules, trials)
    if limit is None:
        return bracket.fitted
    candidates = rules.grid.between(bracket.fitted, bracket.refuted or rules.grid.sizes[-1] + 1)
    return max((size for size in candidates if size <= limit), default=bracket.fitted)


def is_expected_last(rules: Rules, trials: Mapping[int, Trial], size: int) -> bool:
    """Whether a size, if it fits, should be the largest that does: what ``Goal.MEMORY`` asks."""
    if rules.goal is not Goal.MEMORY:
        return False
    following = rules.grid.after(size)
    if following is None:
        return True
    if rules.grid.multiple is not None:  # up to the limit there are others
        return False
    if find_bracket(trials).excludes(following):
        return True
    limit = _expected_limit(rules, trials)
    return limit is not None and limit < following


def _expected_limit(rules: Rules, trials: Mapping[int, Trial]) -> float | None:
    """Where the memory curves meet the budgets; ``None`` if there is no curve."""
    curve = fit_memory(measured_peaks(trials))
    if curve is None:
        return None
    limit = curve.batch_size_at(rules.budget_bytes)
    host_curve = fit_memory(measured_host_peaks(trials))
    if host_curve is not None and rules.host_budget_bytes is not None:
        limit = min(limit, host_curve.batch_size_at(rules.host_budget_bytes))
    return limit


def _is_flat(rules: Rules, trials: Mapping[int, Trial]) -> bool:
    curve = fit_throughput(trials, with_band=False)
    rates = draw_to_curve(estimate_rates(trials, curve), curve)
    return is_on_plateau(rates, curve, tolerance_fraction=rules.tolerance_fraction)


def _is_refuted(rules: Rules, trials: Mapping[int, Trial], size: int) -> bool:
    least_bytes = lower_bound_bytes(trials, size, uncertainty_fraction=rules.uncertainty_fraction)
    return least_bytes > rules.budget_bytes


def _is_out(rules: Rules, trials: Mapping[int, Trial], size: int) -> bool:
    """Whether not to run a size that has not failed, for its memory.

    Whoever asks for the largest size gets every one that is not soundly refuted run. Whoever asks
    for the fastest need not run out of memory to learn the limit: what the curve has beyond it is
    left out.
    """
    if _is_refuted(rules, trials, size):
        return True
    peaks = measured_peaks(trials)
    if rules.goal is Goal.MEMORY or not peaks or not is_monotone(peaks):
        return False
    if not _has_grown(min(peaks.values()), max(peaks.values())):
        return False
    limit = _expected_limit(rules, trials)
    return limit is not None and size > limit


def _refine(rules: Rules, trials: Mapping[int, Trial], bracket: Bracket, following: int) -> Step:
    """Between the last candidate that fits and the first that does not, try multiples."""
    multiple = rules.grid.multiple
    is_known = bracket.refuted is not None or _is_refuted(rules, trials, following)
    end = Step(stop_reason=StopReason.MEMORY if is_known else StopReason.MEMORY_EXPECTED)
    if multiple is None:
        return end
    high = min(bracket.refuted or following, following)
    low_multiple, high_multiple = bracket.fitted // multiple, -(-high // multiple)
    inside = [
        each * multiple
        for each in range(low_multiple + 1, high_multiple)
        if bracket.fitted < each * multiple < high and not _is_out(rules, trials, each * multiple)
    ]
    return Step(batch_size=inside[len(inside) // 2]) if inside else end


def _jump(rules: Rules, trials: Mapping[int, Trial], bracket: Bracket, following: int) -> int:
    high = bracket.refuted or rules.grid.sizes[-1] + 1
    candidates = [
        size
        for size in rules.grid.between(bracket.fitted, high)
        if not _is_refuted(rules, trials, size)
    ]
    peaks = measured_peaks(trials)
    curve = fit_memory(peaks)
    if curve is None or not _is_telling(peaks) or not is_monotone(peaks):
        farthest = bracket.fitted * _CAREFUL_JUMP
        if bracket.refuted is not None:  # nothing to go by but the bracket: halve it
            return candidates[(len(candidates) - 1) // 2]
        return max((size for size in candidates if size <= farthest), default=following)
    limit = curve.batch_size_at(rules.budget_bytes)
    if bracket.refuted is None:
        limit *= _HOPEFUL_RATIO
    reach = [size for size in candidates if size <= min(limit, bracket.fitted * _MAX_JUMP)]
    return max(reach, default=following)


def _is_telling(peaks_bytes: Mapping[int, int]) -> bool:
    if len(peaks_bytes) < 2:
        return False
    return _has_grown(*list(peaks_bytes.values())[-2:])


def _has_grown(smaller_bytes: int, larger_bytes: int) -> bool:
    return larger_bytes - smaller_bytes > _TELLING_GROWTH_FRACTION * larger_bytes

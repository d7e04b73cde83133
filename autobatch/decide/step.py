"""The next size to run, or why there is none.

All goals walk the same grid with the same bracket. For ``throughput`` and ``efficiency`` the
search climbs, and stops where more is no longer faster. For ``memory`` it jumps to where the
memory line meets the budget and tests the boundary itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from autobatch.decide.bracket import (
    Bracket,
    find_bracket,
    has_line,
    is_monotone,
    lower_bound_bytes,
    measured_host_peaks,
    measured_needs,
    measured_peaks,
)
from autobatch.decide.decision import Decision
from autobatch.decide.grid import Grid
from autobatch.decide.memory import fit_memory
from autobatch.decide.numbers import NUMBERS, Numbers
from autobatch.decide.stop import STEPS_OF_A_TRIAL, has_levelled_off
from autobatch.records import Goal, Outcome, StopReason, Trial


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
    """Candidates and limits of a search.

    Attributes:
        grid: The candidates.
        goal: What to find.
        budget_bytes: Memory that a trial may use.
        uncertainty_fraction: How far memory growth may deviate from a straight line.
        host_budget_bytes: Host memory that a trial may use, where that is a separate budget.
        whole: The size that is a global batch in one pass. It holds no gradients of other passes,
            as the sizes below it do, so that their line is no bound for it.
        proposal: Where to try first, by a prediction; ``None`` without one. It refutes nothing.
        numbers: Tuned numbers.
    """

    grid: Grid
    goal: Goal
    budget_bytes: int
    uncertainty_fraction: float
    host_budget_bytes: int | None = None
    whole: int | None = None
    proposal: int | None = None
    numbers: Numbers = NUMBERS


def next_step(
    rules: Rules,
    trials: Mapping[int, Trial],
    decision: Decision | None = None,
    spent_s: float = math.inf,
) -> Step:
    """Decide which size to run next.

    Args:
        rules: Candidates and limits.
        trials: All trials so far, by batch size.
        decision: From those that fitted; ``None`` where throughput does not matter.
        spent_s: Seconds that the search has taken: while throughput does not rise, no size is
            started that would take longer than that.

    Returns:
        A size that has not run yet, or the reason to stop.
    """
    if not trials:
        return Step(batch_size=rules.grid.sizes[0])
    bracket = find_bracket(trials)
    if bracket.fitted == 0:
        return Step(stop_reason=StopReason.MEMORY)
    following = rules.grid.after(bracket.fitted)
    if rules.goal is not Goal.MEMORY and decision is not None:
        reason = _find_reason_to_stop(decision, following, spent_s)
        if reason is not None:
            return _run_yours(rules, trials, decision) or Step(stop_reason=reason)
    if following is None:
        return Step(stop_reason=rules.grid.end)
    if bracket.excludes(following) or _is_out(rules, trials, following):
        return _refine(rules, trials, bracket, following)
    if rules.goal is not Goal.MEMORY:
        return Step(batch_size=following)
    return Step(batch_size=_jump(rules, trials, bracket, following))


def _find_reason_to_stop(
    decision: Decision, following: int | None, spent_s: float
) -> StopReason | None:
    # Once throughput is flat, a larger batch cannot raise the goodput either.
    if has_levelled_off(decision):
        return StopReason.PLATEAU
    if following is None or decision.may_rise:
        return None
    last = decision.rates.sizes[-1]
    trial_s = STEPS_OF_A_TRIAL * following / math.exp(decision.rates.log_rate(last))
    is_dear = trial_s > max(spent_s, decision.asked.numbers.dear_trial_s)
    return StopReason.COST if is_dear else None


def _run_yours(rules: Rules, trials: Mapping[int, Trial], decision: Decision) -> Step | None:
    """The user's own size, if it has not run and may fit: it runs whatever the answer is."""
    yours = decision.asked.your_batch_size
    if yours is None or yours in trials or yours not in rules.grid.sizes:
        return None
    if find_bracket(trials).excludes(yours) or _is_out(rules, trials, yours):
        return None
    return Step(batch_size=yours)


def predict_largest(rules: Rules, trials: Mapping[int, Trial]) -> int:
    """Predict the largest candidate that fits, from the memory curves.

    Args:
        rules: Candidates and limits.
        trials: All trials so far, by batch size.

    Returns:
        A batch size; at least the largest that has fitted.
    """
    bracket, limit = find_bracket(trials), _expected_limit(rules, trials)
    if limit is None:
        return bracket.fitted
    candidates = rules.grid.between(bracket.fitted, bracket.refuted or rules.grid.sizes[-1] + 1)
    return max((size for size in candidates if size <= limit), default=bracket.fitted)


def is_expected_last(rules: Rules, trials: Mapping[int, Trial], size: int) -> bool:
    """Predict whether a size, if it fits, is the largest that does, for ``Goal.MEMORY``.

    Args:
        rules: Candidates and limits.
        trials: All trials so far, by batch size.
        size: A candidate that has not run.
    """
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


def _expected_limit(
    rules: Rules, trials: Mapping[int, Trial], peaks_bytes: Mapping[int, int] | None = None
) -> float | None:
    """Where the memory curves meet the budgets; ``None`` if there is no curve."""
    curve = fit_memory(peaks_bytes or measured_peaks(trials))
    if curve is None:
        return None
    limit = curve.batch_size_at(rules.budget_bytes)
    host_curve = fit_memory(measured_host_peaks(trials))
    if host_curve is not None and rules.host_budget_bytes is not None:
        limit = min(limit, host_curve.batch_size_at(rules.host_budget_bytes))
    return limit


def is_refuted(rules: Rules, trials: Mapping[int, Trial], size: int) -> bool:
    """Whether the least that a size needs is more than the budget.

    Args:
        rules: Candidates and limits.
        trials: All trials so far, by batch size.
        size: A batch size above all that fitted.
    """
    if size == rules.whole:
        return False
    least_bytes = lower_bound_bytes(trials, size, uncertainty_fraction=rules.uncertainty_fraction)
    return least_bytes > rules.budget_bytes


def _is_out(rules: Rules, trials: Mapping[int, Trial], size: int) -> bool:
    """Whether to skip a size because memory is predicted to run out.

    A search for the largest size runs every size that is not soundly refuted. A search for the
    fastest need not run out of memory to learn the limit: it skips what the curve puts beyond it,
    where the last sizes lie on a line.
    """
    if is_refuted(rules, trials, size):
        return True
    if rules.goal is Goal.MEMORY or not has_line(trials):
        return False
    peaks = measured_peaks(trials)
    if not _has_grown(min(peaks.values()), max(peaks.values()), rules.numbers):
        return False
    limit = _expected_limit(rules, trials, measured_needs(trials))
    return limit is not None and size > limit


def _refine(rules: Rules, trials: Mapping[int, Trial], bracket: Bracket, following: int) -> Step:
    """Try multiples between the last candidate that fits and the first that does not."""
    multiple = rules.grid.multiple
    is_known = bracket.refuted is not None or is_refuted(rules, trials, following)
    reason = StopReason.MEMORY if is_known else StopReason.MEMORY_EXPECTED
    if bracket.refuted is not None and trials[bracket.refuted].outcome is Outcome.FAILED:
        reason = StopReason.FAILED
    end = Step(stop_reason=reason)
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
        if not is_refuted(rules, trials, size)
    ]
    peaks = measured_peaks(trials)
    curve = fit_memory(peaks)
    if curve is None or not _is_telling(peaks, rules.numbers) or not is_monotone(peaks):
        if bracket.refuted is not None:  # no usable curve: bisect the bracket
            return candidates[(len(candidates) - 1) // 2]
        farthest = bracket.fitted * rules.numbers.careful_jump
        if rules.proposal is not None and rules.proposal > bracket.fitted:
            farthest = rules.proposal
        return max((size for size in candidates if size <= farthest), default=following)
    limit = curve.batch_size_at(rules.budget_bytes)
    if bracket.refuted is None:
        limit *= rules.numbers.hopeful_ratio
    limit = min(limit, bracket.fitted * rules.numbers.max_jump)
    reach = [size for size in candidates if size <= limit]
    return max(reach, default=following)


def _is_telling(peaks_bytes: Mapping[int, int], numbers: Numbers) -> bool:
    if len(peaks_bytes) < 2:
        return False
    smaller_bytes, larger_bytes = list(peaks_bytes.values())[-2:]
    return _has_grown(smaller_bytes, larger_bytes, numbers)


def _has_grown(smaller_bytes: int, larger_bytes: int, numbers: Numbers) -> bool:
    return larger_bytes - smaller_bytes > numbers.peak_scatter * larger_bytes

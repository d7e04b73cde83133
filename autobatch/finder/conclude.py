"""From the evidence to the finding."""

from __future__ import annotations

import math
from dataclasses import replace

from autobatch.decide.bracket import measured_peaks
from autobatch.decide.choice import Choice
from autobatch.decide.decision import Decision
from autobatch.decide.memory import fit_memory
from autobatch.errors import NothingFitsError
from autobatch.finder.evidence import Evidence
from autobatch.recommend.beyond_trials import find_warnings_beyond_trials
from autobatch.recommend.build import recommend
from autobatch.recommend.largest import find_largest
from autobatch.recommend.warnings import find_warnings
from autobatch.records import (
    Confirmation,
    Doubt,
    Finding,
    FindingWarning,
    Goal,
    MemoryBudget,
    Outcome,
    Recommendation,
    StopReason,
    TimingDecision,
    Trial,
)
from autobatch.units import format_bytes

_LOADER_RULES_FRACTION = 0.25
_LOADER_ERROR = "in DataLoader worker process"


def conclude(evidence: Evidence, *, target: str, search_time_s: float) -> Finding:
    """Build the finding.

    Args:
        evidence: At least one size has fitted.
        target: What was probed, as the user named it.
        search_time_s: Seconds that the search took.
    """
    trials = tuple(evidence.trials[size] for size in sorted(evidence.trials))
    decision, choice = evidence.decide(), evidence.choose()
    record = decision.to_record(
        choice.batch_size, evidence.fitting, _find_doubts(evidence, decision)
    )
    noise = evidence.worth.noise if evidence.worth else None
    recommendation = _recommend(evidence, trials, decision, choice, record)
    return Finding(
        target=target,
        device=evidence.loaded.device,
        settings=evidence.settings,
        environment=evidence.loaded.environment,
        workload=evidence.loaded.workload,
        budget=evidence.loaded.budget,
        host_budget=evidence.loaded.host_budget,
        trials=trials,
        memory_curve=fit_memory(measured_peaks(evidence.trials)),
        throughput_curve=decision.curve,
        decision=record,
        recommendation=recommendation,
        confirmation=evidence.confirmation,
        warnings=_find_warnings(evidence, trials, recommendation, record),
        stop_reason=evidence.stop_reason,
        search_time_s=search_time_s,
        eval_trials=tuple(evidence.eval_trials[size] for size in sorted(evidence.eval_trials)),
        buckets=evidence.buckets,
        gradient_noise=noise,
        efficiency=evidence.find_efficiency(),
        contention=evidence.contention,
        forecast=evidence.find_forecast(),
    )


def _recommend(
    evidence: Evidence,
    trials: tuple[Trial, ...],
    decision: Decision,
    choice: Choice,
    record: TimingDecision,
) -> Recommendation:
    recommendation = recommend(
        settings=evidence.settings,
        workload=evidence.loaded.workload,
        trials=trials,
        batch_size=choice.batch_size,
        largest=find_largest(evidence.make_rules(), evidence.trials),
        reason=choice.reason,
        decision=record,
        throughput_curve=decision.curve,
    )
    return replace(
        recommendation,
        eval_batch_size=evidence.find_eval_batch_size(),
        eval_is_largest=evidence.eval_is_largest,
        peak_bytes=_highest_peak(recommendation.peak_bytes, evidence.confirmation),
    )


def _find_doubts(evidence: Evidence, decision: Decision) -> tuple[Doubt, ...]:
    """Reasons for low confidence other than timing noise."""
    if evidence.settings.goal is Goal.MEMORY:
        return ()
    doubts = []
    cut_short = (StopReason.TIME_LIMIT, StopReason.INTERRUPTED, StopReason.COST)
    if evidence.stop_reason in cut_short and decision.is_rising:
        doubts.append(Doubt.STILL_RISING)
    if _is_contradicted(evidence, decision):
        doubts.append(Doubt.CONTRADICTED)
    return tuple(doubts)


def _is_contradicted(evidence: Evidence, decision: Decision) -> bool:
    """Whether the final run was far slower or faster than estimated for its size."""
    final = evidence.confirmation
    if final is None or not final.step_time_s or evidence.loaded.workload.is_compiled:
        return False
    rate = final.batch_size / final.step_time_s
    off = abs(math.log(rate) - decision.rates.log_rate(final.batch_size))
    chance = 3 * decision.noise_fraction
    return off > math.log1p(2 * evidence.settings.tolerance_fraction) + chance


def _highest_peak(peak_bytes: int | None, final: Confirmation | None) -> int | None:
    # The final run of a compiled model has a peak of its own, compilation included.
    if final is None or final.peak_bytes is None:
        return peak_bytes
    return max(peak_bytes or 0, final.peak_bytes)


def _find_warnings(
    evidence: Evidence,
    trials: tuple[Trial, ...],
    recommendation: Recommendation,
    decision: TimingDecision,
) -> tuple[FindingWarning, ...]:
    loaded, confirmation = evidence.loaded, evidence.confirmation
    return (
        *find_warnings(
            settings=evidence.settings,
            workload=evidence.loaded.workload,
            trials=trials,
            recommendation=recommendation,
            confirmation=evidence.confirmation,
            budget=evidence.loaded.budget,
            decision=decision,
            memory_is_enforced=evidence.loaded.memory_is_enforced,
            num_cores=evidence.loaded.environment.num_cores,
            contention=evidence.contention,
        ),
        *find_warnings_beyond_trials(
            evidence.settings,
            loaded.workload,
            confirmation,
            loaded.budget,
            evidence.buckets,
            evidence.failures,
            evidence.refused,
        ),
    )


def nothing_fits(evidence: Evidence) -> NothingFitsError:
    """The error for a search in which no size fitted."""
    noun = evidence.settings.along.noun
    if not evidence.trials:
        return NothingFitsError(
            f"no {noun} ran within `time_limit={evidence.settings.time_limit_s:g}s`",
            hint="raise `time_limit`",
        )
    trial = evidence.trials[min(evidence.trials)]
    if trial.outcome is Outcome.TIMED_OUT:
        return NothingFitsError(
            f"{noun} {trial.batch_size} took too long: {trial.message}",
            hint="raise `trial_timeout` or `time_limit`",
        )
    bound = _find_budget(evidence, trial)
    if trial.outcome is Outcome.OVER_BUDGET and (
        bound is evidence.loaded.host_budget or _is_loaders(trial)
    ):
        return NothingFitsError(
            f"{noun} {trial.batch_size} does not fit: {trial.message} ({bound.bound_by})",
            hint=_remedy(evidence, trial),
        )
    budget = format_bytes(evidence.loaded.budget.budget_bytes)
    verb = f"was killed ({trial.message})" if trial.outcome is Outcome.KILLED else "does not fit"
    if _LOADER_ERROR in trial.message:
        verb = "ran out of memory in a DataLoader worker"
    return NothingFitsError(
        f"{noun} {trial.batch_size} {verb}: {_describe_need(evidence, trial)}, budget {budget} "
        f"({evidence.loaded.budget.bound_by})",
        hint=_remedy(evidence, trial),
    )


def _describe_need(evidence: Evidence, trial: Trial) -> str:
    """How much memory a size that failed took, and what it asked for then."""
    if _is_too_small_for_any(evidence):
        idle = format_bytes(evidence.loaded.idle_bytes or 0)
        return f"Python, PyTorch and the workload hold {idle} before a step"
    peak = "unknown" if trial.peak_bytes is None else format_bytes(trial.peak_bytes)
    if trial.requested_bytes is None:
        return f"peak {peak}"
    return f"it asked for {format_bytes(trial.requested_bytes)} beside a peak of {peak}"


def _is_too_small_for_any(evidence: Evidence) -> bool:
    """Whether the budget is less than is held before there is a step."""
    idle_bytes = evidence.loaded.idle_bytes
    return idle_bytes is not None and idle_bytes > evidence.loaded.budget.budget_bytes


def _remedy(evidence: Evidence, trial: Trial) -> str:
    if trial.outcome is Outcome.KILLED:
        return "run one training step by itself to see what ends it"
    if _is_loaders(trial):
        return "lower num_workers or prefetch_factor of the DataLoader"
    is_limited = evidence.settings.memory_limit_bytes is not None
    if _is_too_small_for_any(evidence):
        return "raise `memory_limit`" if is_limited else "use a machine with more memory"
    if (trial.requested_bytes or 0) > evidence.loaded.budget.budget_bytes:
        # One tensor: to recompute others leaves it as large.
        return "raise `memory_limit`" if is_limited else "use a smaller model, or smaller samples"
    if is_limited:
        return "raise `memory_limit`, or turn on gradient checkpointing"
    return "use a smaller model, or turn on gradient checkpointing"


def _is_loaders(trial: Trial) -> bool:
    """Whether the loader's memory is what does not fit."""
    if _LOADER_ERROR in trial.message:
        return True
    return (trial.loader_bytes or 0) > _LOADER_RULES_FRACTION * (trial.host_peak_bytes or 0)


def _find_budget(evidence: Evidence, trial: Trial) -> MemoryBudget:
    """The budget that a trial exceeded: the device's, or the host's beside it."""
    budget, host_budget = evidence.loaded.budget, evidence.loaded.host_budget
    is_device_over = (trial.peak_bytes or 0) > budget.budget_bytes
    return budget if host_budget is None or is_device_over else host_budget

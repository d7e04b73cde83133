"""What a user should know about a finding: each check is one small function.

Warnings come in the order of the checks below: what makes the answer wrong, then what makes
training slow, then what makes the answer uncertain, then what was not known.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

from autobatch.decide.bracket import slack_bytes
from autobatch.decide.leak import find_growth_bytes_per_step
from autobatch.decide.numbers import NUMBERS
from autobatch.recommend.accumulation import split_global_batch
from autobatch.recommend.evidence import Evidence, make_warning
from autobatch.recommend.inputs import find_dataset_size, find_fitting_trial
from autobatch.recommend.slowness import (
    alloc_retries,
    data_loading,
    falling_throughput,
    page_faults,
)
from autobatch.records import (
    Axis,
    Confirmation,
    Contention,
    FindingWarning,
    Goal,
    LearningRateRule,
    MemoryBudget,
    Outcome,
    Recommendation,
    Settings,
    TimingDecision,
    Trial,
    WarningCode,
    WorkloadSummary,
)

_FEW_UPDATES = 20


def find_warnings(
    *,
    settings: Settings,
    workload: WorkloadSummary,
    trials: tuple[Trial, ...],
    recommendation: Recommendation,
    confirmation: Confirmation | None,
    budget: MemoryBudget,
    decision: TimingDecision,
    memory_is_enforced: bool,
    num_cores: int,
    contention: Contention | None = None,
) -> tuple[FindingWarning, ...]:
    """All that a user should know about a recommendation.

    Args:
        settings: What was asked.
        workload: What is trained.
        trials: All trials, by batch size.
        recommendation: The answer; among the trials one of its size fitted.
        confirmation: The final run of the recommended size, ``None`` if there was none.
        budget: Memory that it may use.
        decision: The estimates that it was chosen by.
        memory_is_enforced: Whether a trial over the budget would have been stopped.
        num_cores: Cores that the trials could use.
        contention: What was done about processes that kept them busy, ``None`` if nothing.
    """
    evidence = Evidence(
        settings=settings,
        workload=workload,
        trials=trials,
        answer=recommendation,
        confirmation=confirmation,
        budget=budget,
        chosen=find_fitting_trial(trials, recommendation.batch_size),
        fitting=tuple(sorted((t for t in trials if t.fits), key=lambda trial: trial.batch_size)),
        dataset_size=find_dataset_size(settings, workload),
        decision=decision,
        memory_is_enforced=memory_is_enforced,
        num_cores=num_cores,
        contention=contention,
    )
    found = (check(evidence) for check in _CHECKS)
    return tuple(warning for warning in found if warning is not None)


def _drop_last_drops_all(evidence: Evidence) -> FindingWarning | None:
    answer, dataset_size = evidence.answer, evidence.dataset_size
    if dataset_size is None or not answer.drop_last or answer.iterations_per_epoch != 0:
        return None
    return make_warning(
        WarningCode.DROP_LAST_DROPS_ALL,
        dataset_size=dataset_size,
        global_batch_size=answer.global_batch_size,
    )


def _last_batch_of_one(evidence: Evidence) -> FindingWarning | None:
    answer = evidence.answer
    if answer.drop_last or not evidence.workload.has_batch_norm or answer.batch_size == 1:
        return None
    if answer.last_batch_size is None or answer.iterations_per_epoch is None:
        return None
    per_device = -(-answer.last_batch_size // answer.num_devices)
    if per_device % answer.batch_size != 1:
        return None
    return make_warning(
        WarningCode.LAST_BATCH_OF_ONE, iterations_per_epoch=answer.iterations_per_epoch
    )


def _loss_not_finite(evidence: Evidence) -> FindingWarning | None:
    affected = [trial for trial in evidence.fitting if not trial.loss_is_finite]
    if not affected:
        return None
    shown = evidence.chosen if evidence.chosen in affected else affected[0]
    return make_warning(WarningCode.LOSS_NOT_FINITE, batch_size=shown.batch_size)


def _global_batch_remainder(evidence: Evidence) -> FindingWarning | None:
    settings, answer = evidence.settings, evidence.answer
    split = split_global_batch(settings, answer.batch_size)
    if split.remainder == 0:
        return None
    return make_warning(
        WarningCode.GLOBAL_BATCH_REMAINDER,
        global_batch_size=answer.global_batch_size,
        batch_size=answer.batch_size,
        steps=split.steps,
        remainder=split.remainder,
    )


def _few_updates(evidence: Evidence) -> FindingWarning | None:
    """Few updates an epoch, unless they were asked for or samples were weighed against time."""
    answer, settings = evidence.answer, evidence.settings
    if settings.global_batch_size is not None or settings.goal is Goal.EFFICIENCY:
        return None
    iterations = answer.iterations_per_epoch
    own = settings.base_batch_size or evidence.workload.base_batch_size or 0
    if not iterations or iterations >= _FEW_UPDATES or answer.global_batch_size <= own:
        return None
    return make_warning(
        WarningCode.FEW_UPDATES,
        iterations_per_epoch=iterations,
        global_batch_size=answer.global_batch_size,
    )


def _leak(evidence: Evidence) -> FindingWarning | None:
    confirmation = evidence.confirmation
    if confirmation is None or confirmation.peak_bytes is None:
        return None
    growth = find_growth_bytes_per_step(
        confirmation.window_peaks_bytes, confirmation.window_num_steps
    )
    if growth == 0:
        return None
    left_bytes = max(0, evidence.budget.budget_bytes - confirmation.peak_bytes)
    return make_warning(
        WarningCode.LEAK,
        batch_size=confirmation.batch_size,
        growth_bytes=growth,
        steps_left=left_bytes // growth,
    )


def _not_confirmed(evidence: Evidence) -> FindingWarning | None:
    if evidence.confirmation is not None:
        return None
    return make_warning(WarningCode.NOT_CONFIRMED, batch_size=evidence.answer.batch_size)


def _memory_not_monotone(evidence: Evidence) -> FindingWarning | None:
    peaks = [(t.batch_size, t.peak_bytes) for t in evidence.fitting if t.peak_bytes is not None]
    drops = [
        (small_peak - large_peak, small, small_peak, large, large_peak)
        for index, (small, small_peak) in enumerate(peaks)
        for large, large_peak in peaks[index + 1 :]
        if small_peak - large_peak > slack_bytes(small_peak)
    ]
    if not drops:
        return None
    _, small, small_peak, large, large_peak = max(drops)
    return make_warning(
        WarningCode.MEMORY_NOT_MONOTONE,
        small_batch_size=small,
        small_peak_bytes=small_peak,
        large_batch_size=large,
        large_peak_bytes=large_peak,
    )


def _busy_machine(evidence: Evidence) -> FindingWarning | None:
    others = [t.others_busy_cores for t in evidence.fitting if t.others_busy_cores is not None]
    num_threads = evidence.workload.num_threads
    if not others or evidence.contention is not None:  # which the verdict speaks of
        return None
    others_busy_cores = median(others)
    if others_busy_cores + num_threads - evidence.num_cores < NUMBERS.contended_cores:
        return None
    return make_warning(
        WarningCode.BUSY_MACHINE,
        others_busy_cores=others_busy_cores,
        num_cores=evidence.num_cores,
        num_threads=num_threads,
    )


def _other_searches(evidence: Evidence) -> FindingWarning | None:
    others = [trial.num_other_searches for trial in evidence.trials]
    if not any(others):
        return None
    num_trials = sum(1 for each in others if each)
    return make_warning(WarningCode.OTHER_SEARCHES, num_searches=max(others), num_trials=num_trials)


def _trial_killed(evidence: Evidence) -> FindingWarning | None:
    killed = [trial for trial in evidence.trials if trial.outcome is Outcome.KILLED]
    if not killed:
        return None
    first = min(killed, key=lambda trial: trial.batch_size)
    return make_warning(WarningCode.TRIAL_KILLED, (first.message,), batch_size=first.batch_size)


def _trial_failed(evidence: Evidence) -> FindingWarning | None:
    failed = [trial for trial in evidence.trials if trial.outcome is Outcome.FAILED]
    if not failed:
        return None
    first = min(failed, key=lambda trial: trial.batch_size)
    return make_warning(WarningCode.TRIAL_FAILED, (first.message,), batch_size=first.batch_size)


def _throttled(evidence: Evidence) -> FindingWarning | None:
    affected = [trial for trial in evidence.fitting if trial.throttle_reasons]
    if not affected:
        return None
    shown = evidence.chosen if evidence.chosen in affected else affected[0]
    reasons = dict.fromkeys(each for trial in affected for each in trial.throttle_reasons or ())
    return make_warning(WarningCode.THROTTLED, tuple(reasons), batch_size=shown.batch_size)


def _budget_not_enforced(evidence: Evidence) -> FindingWarning | None:
    if evidence.memory_is_enforced:
        return None
    return make_warning(WarningCode.BUDGET_NOT_ENFORCED)


def _dataset_size_unknown(evidence: Evidence) -> FindingWarning | None:
    if evidence.dataset_size is not None or evidence.settings.axis is not Axis.BATCH_SIZE:
        return None
    return make_warning(WarningCode.DATASET_SIZE_UNKNOWN)


def _no_base_learning_rate(evidence: Evidence) -> FindingWarning | None:
    if evidence.settings.axis is not Axis.BATCH_SIZE:
        return None
    answer = evidence.answer
    is_scaled = answer.learning_rate_rule is not LearningRateRule.NONE
    if answer.base_learning_rate is not None or not is_scaled:
        return None
    if not evidence.workload.optimizer_was_given or answer.learning_rate_multiplier is None:
        return None
    return make_warning(
        WarningCode.NO_BASE_LEARNING_RATE,
        learning_rate_multiplier=answer.learning_rate_multiplier,
        base_batch_size=answer.base_batch_size,
    )


_CHECKS: tuple[Callable[[Evidence], FindingWarning | None], ...] = (
    _drop_last_drops_all,
    _last_batch_of_one,
    _loss_not_finite,
    _leak,
    _global_batch_remainder,
    data_loading,
    page_faults,
    alloc_retries,
    falling_throughput,
    _few_updates,
    _trial_killed,
    _trial_failed,
    _memory_not_monotone,
    _not_confirmed,
    _budget_not_enforced,
    _throttled,
    _busy_machine,
    _other_searches,
    _dataset_size_unknown,
    _no_base_learning_rate,
)

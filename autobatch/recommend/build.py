"""The recommendation, joined from a chosen batch size and what was measured."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.recommend.accumulation import split_global_batch
from autobatch.recommend.bottleneck import find_bottleneck
from autobatch.recommend.epochs import (
    epoch_time_s,
    find_regime,
    iterations_per_epoch,
    last_batch_size,
)
from autobatch.recommend.inputs import (
    find_base_batch_size,
    find_base_learning_rate,
    find_dataset_size,
    find_fitting_trial,
)
from autobatch.recommend.largest import Largest
from autobatch.recommend.learning_rate import ScaledLearningRate, scale_learning_rate
from autobatch.records import (
    Recommendation,
    Settings,
    SizeEstimate,
    ThroughputCurve,
    TimingDecision,
    Trial,
    WorkloadSummary,
)


def recommend(
    *,
    settings: Settings,
    workload: WorkloadSummary,
    trials: tuple[Trial, ...],
    batch_size: int,
    largest: Largest,
    reason: str,
    decision: TimingDecision,
    throughput_curve: ThroughputCurve | None,
) -> Recommendation:
    """Join a chosen batch size with all that follows from it.

    Args:
        settings: What was asked; what it says goes before what the workload says.
        workload: What is trained.
        trials: All trials; in one of them the chosen size fitted and was timed.
        batch_size: The chosen size.
        largest: The largest size that fits.
        reason: Why the size was chosen, one sentence.
        decision: The estimates that it was chosen by.
        throughput_curve: Fitted step time, ``None`` if there is none.
    """
    trial = find_fitting_trial(trials, batch_size)
    estimate = decision.estimate_of(batch_size)
    assert estimate is not None, "the chosen size was timed"
    split = split_global_batch(settings, batch_size)
    global_batch_size = split.global_batch_size
    dataset_size = find_dataset_size(settings, workload)
    plan = _plan_epoch(settings, dataset_size, global_batch_size, estimate, throughput_curve)
    rate = _scale_rate(settings, workload, global_batch_size)
    return Recommendation(
        batch_size=batch_size,
        reason=reason,
        knee=decision.knee,
        largest_batch_size=largest.batch_size,
        largest_was_run=largest.was_run,
        largest_is_lower_bound=largest.is_lower_bound,
        gradient_accumulation_steps=split.steps,
        num_devices=settings.num_devices,
        global_batch_size=global_batch_size,
        iterations_per_epoch=plan.iterations if plan else None,
        last_batch_size=plan.last_batch_size if plan else None,
        drop_last=settings.drop_last,
        samples_per_s=estimate.samples_per_s,
        step_time_s=estimate.step_time_s,
        epoch_time_s=plan.time_s if plan else None,
        peak_bytes=trial.peak_bytes,
        regime=find_regime(global_batch_size, dataset_size),
        learning_rate=rate.learning_rate,
        learning_rate_multiplier=rate.multiplier,
        learning_rate_rule=rate.rule,
        learning_rate_reason=rate.reason,
        base_learning_rate=find_base_learning_rate(settings, workload),
        base_batch_size=find_base_batch_size(settings, workload),
        adam_betas=rate.adam_betas,
        adam_epsilon_multiplier=rate.adam_epsilon_multiplier,
        bottleneck=find_bottleneck(trial, throughput_curve),
    )


@dataclass(frozen=True, slots=True)
class _EpochPlan:
    iterations: int
    last_batch_size: int
    time_s: float


def _plan_epoch(
    settings: Settings,
    dataset_size: int | None,
    global_batch_size: int,
    estimate: SizeEstimate,
    curve: ThroughputCurve | None,
) -> _EpochPlan | None:
    if dataset_size is None:
        return None
    drop_last = settings.drop_last
    return _EpochPlan(
        iterations=iterations_per_epoch(dataset_size, global_batch_size, drop_last=drop_last),
        last_batch_size=last_batch_size(dataset_size, global_batch_size, drop_last=drop_last),
        time_s=epoch_time_s(
            dataset_size,
            estimate.batch_size,
            estimate.step_time_s,
            curve,
            drop_last=drop_last,
            num_devices=settings.num_devices,
            global_batch_size=global_batch_size,
        ),
    )


def _scale_rate(
    settings: Settings, workload: WorkloadSummary, global_batch_size: int
) -> ScaledLearningRate:
    return scale_learning_rate(
        settings.learning_rate_rule,
        base_learning_rate=find_base_learning_rate(settings, workload),
        base_batch_size=find_base_batch_size(settings, workload),
        global_batch_size=global_batch_size,
        optimizer=workload.optimizer,
    )

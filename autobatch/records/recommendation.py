"""What to train with."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.records.enums import Bottleneck, LearningRateRule, Regime


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The answer: every field is a key of the JSON document.

    Attributes:
        batch_size: Samples per pass and device. It ran, and it fitted.
        reason: Why this size, one sentence.
        knee: Smallest size whose throughput is within the tolerance of the best.
        largest_batch_size: Largest size that fits.
        largest_was_run: Whether the largest was run or is predicted by the memory curve.
        largest_is_lower_bound: Whether larger ones may fit: none failed, and the memory line does
            not rule twice the size out.
        gradient_accumulation_steps: Passes per optimizer step.
        num_devices: Devices that train together.
        global_batch_size: Samples per optimizer step.
        iterations_per_epoch: Optimizer steps per epoch, ``None`` without a dataset size.
        last_batch_size: Samples of the last optimizer step of an epoch.
        drop_last: Whether a last, smaller batch is left out.
        samples_per_s: Throughput of one device, as estimated from all timed steps.
        step_time_s: Time of one pass at that throughput.
        epoch_time_s: Predicted time of one epoch.
        peak_bytes: Measured peak at ``batch_size``.
        regime: Full-batch, mini-batch or stochastic; ``None`` without a dataset size.
        learning_rate: Scaled learning rate; ``None`` without a base rate or a multiplier.
        learning_rate_multiplier: Factor from the base rate to the scaled one; ``None`` where the
            rule ends before this batch size, which ``learning_rate_reason`` says.
        learning_rate_rule: The rule that was applied.
        learning_rate_reason: Why that rule, with its source.
        base_learning_rate: The rate that was scaled.
        base_batch_size: The global batch size that the base rate goes with.
        adam_betas: Adam's betas to go with the sqrt rule, ``None`` for other rules.
        adam_epsilon_multiplier: Factor for Adam's epsilon to go with the sqrt rule.
        bottleneck: What bounds the throughput.
        eval_batch_size: A size that ran and fitted in evaluation, beside the optimizer's state:
            the largest where that was asked for, else ``batch_size``; ``None`` if evaluation
            did not run.
        eval_is_largest: Whether larger ones were tried, or there are none.
    """

    batch_size: int
    reason: str
    knee: int
    largest_batch_size: int
    largest_was_run: bool
    largest_is_lower_bound: bool
    gradient_accumulation_steps: int
    num_devices: int
    global_batch_size: int
    iterations_per_epoch: int | None
    last_batch_size: int | None
    drop_last: bool
    samples_per_s: float
    step_time_s: float
    epoch_time_s: float | None
    peak_bytes: int | None
    regime: Regime | None
    learning_rate: float | None
    learning_rate_multiplier: float | None
    learning_rate_rule: LearningRateRule
    learning_rate_reason: str
    base_learning_rate: float | None
    base_batch_size: int
    adam_betas: tuple[float, float] | None
    adam_epsilon_multiplier: float | None
    bottleneck: Bottleneck
    eval_batch_size: int | None = None
    eval_is_largest: bool = False

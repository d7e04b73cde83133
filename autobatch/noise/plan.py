"""When a search measures the gradient noise scale, and from how many gradients."""

from __future__ import annotations

from autobatch.errors import SettingsError
from autobatch.finder.evidence import Evidence
from autobatch.noise.job import NoisePlan, ShortTraining, needs_real_data
from autobatch.probe.probers import JobProber, Prober
from autobatch.probe.protocol import Loaded
from autobatch.recommend.inputs import find_base_batch_size, find_dataset_size
from autobatch.recommend.learning_rate import scale_learning_rate
from autobatch.records import Settings

_LARGEST_MICRO_BATCH = 64
# Fewer gradients than this say little about their spread.
_ENOUGH_MICRO_BATCHES = 32
_MAX_TIME_S = 10.0
_SHARE_OF_TIME_LEFT = 0.125
# The noise scale is small at first and grows quickly (Merrill et al. 2025, "Critical Batch Size
# Revisited"): what is measured before this many steps is soon no longer true.
_TRAINING_STEPS = 100


def require_noise_prober(prober: Prober, settings: Settings) -> None:
    """Check before the search that the noise scale can be measured at all.

    Args:
        prober: Will measure it.
        settings: Say whether it is needed.

    Raises:
        SettingsError: If it is needed and the prober cannot measure it.
    """
    if settings.wants_noise and not isinstance(prober, JobProber):
        raise SettingsError(
            f"`goal={settings.goal.value}` needs the gradient noise scale, which cannot be "
            "measured here",
            hint="use `goal=throughput`",
        )


def require_real_data(loaded: Loaded, settings: Settings) -> None:
    """Check before the first trial that the data allows the measurement.

    Args:
        loaded: The workload, as the worker reports it.
        settings: Say whether the noise scale is needed.

    Raises:
        WorkloadError: If the noise scale is needed and every batch is the same.
    """
    if settings.wants_noise and loaded.repeats_batch:
        raise needs_real_data(loaded.workload.data)


def plan_noise(evidence: Evidence, time_left_s: float | None) -> NoisePlan:
    """Plan micro-batches of a size that ran, small enough that the dataset has many of them.

    The measurement takes at most twice ``max_time_s``, the training included.

    Args:
        evidence: At least one size has fitted.
        time_left_s: Seconds left to the search, ``None`` without a limit.
    """
    dataset_size = find_dataset_size(evidence.settings, evidence.loaded.workload)
    most = _LARGEST_MICRO_BATCH
    if dataset_size is not None:
        most = min(most, dataset_size // _ENOUGH_MICRO_BATCHES)
    sizes = sorted(evidence.fitting)
    time_s = _MAX_TIME_S
    if time_left_s is not None:
        time_s = min(time_s, _SHARE_OF_TIME_LEFT * time_left_s)
    return NoisePlan(
        micro_batch_size=max((size for size in sizes if size <= most), default=sizes[0]),
        max_time_s=time_s,
        training=_plan_training(evidence, time_s),
    )


def _plan_training(evidence: Evidence, time_s: float) -> ShortTraining:
    """Some steps as the user trains, no sample twice."""
    settings, workload = evidence.settings, evidence.loaded.workload
    base, sizes = find_base_batch_size(settings, workload), sorted(evidence.fitting)
    batch_size = max((size for size in sizes if size <= base), default=sizes[0])
    dataset_size = find_dataset_size(settings, workload)
    num_steps = _TRAINING_STEPS
    if dataset_size is not None:
        num_steps = min(num_steps, dataset_size // batch_size)
    scaled = scale_learning_rate(
        settings.learning_rate_rule,
        base_learning_rate=None,
        base_batch_size=base,
        global_batch_size=batch_size,
        optimizer=workload.optimizer,
    )
    return ShortTraining(
        batch_size=batch_size,
        num_steps=max(1, num_steps),
        max_time_s=time_s,
        rate_multiplier=scaled.formula_multiplier,
        learning_rate=settings.learning_rate,
    )

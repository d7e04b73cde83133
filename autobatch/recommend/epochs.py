"""Iterations per epoch, the last batch, how long an epoch takes, and the regime."""

from __future__ import annotations

from autobatch.records import Regime, ThroughputCurve


def iterations_per_epoch(dataset_size: int, global_batch_size: int, *, drop_last: bool) -> int:
    """Optimizer steps in an epoch: ``ceil(N / global)``, or ``floor`` with ``drop_last``.

    Args:
        dataset_size: Samples in an epoch, ``N``.
        global_batch_size: Samples per optimizer step.
        drop_last: Whether a last, smaller step is left out.
    """
    if drop_last:
        return dataset_size // global_batch_size
    return -(-dataset_size // global_batch_size)


def last_batch_size(dataset_size: int, global_batch_size: int, *, drop_last: bool) -> int:
    """Count the samples in the last optimizer step of an epoch.

    Args:
        dataset_size: Samples of the dataset.
        global_batch_size: Samples per optimizer step.
        drop_last: Whether a last, smaller batch is left out.

    Returns:
        Samples; 0 if the epoch has no step at all.
    """
    iterations = iterations_per_epoch(dataset_size, global_batch_size, drop_last=drop_last)
    if iterations == 0:
        return 0
    return min(global_batch_size, dataset_size - (iterations - 1) * global_batch_size)


def epoch_time_s(
    dataset_size: int,
    batch_size: int,
    step_time_s: float,
    curve: ThroughputCurve | None,
    drop_last: bool = False,
    num_devices: int = 1,
    accumulation_steps: int = 1,
    global_batch_size: int | None = None,
) -> float:
    """Predict the time of an epoch, last partial passes included.

    A pass of ``batch_size`` samples takes the measured time; one of ``r`` samples takes
    ``curve(r) / curve(batch_size)`` of it. Devices work side by side, and what they take to
    exchange gradients is not counted.

    Args:
        dataset_size: Samples in an epoch.
        batch_size: Samples per pass and device.
        step_time_s: Measured time of one pass.
        curve: Fitted step time. Without one, or with one that describes the measurements
            poorly, a partial pass takes its part of the samples.
        drop_last: Whether a last, smaller optimizer step is left out.
        num_devices: Devices that share an optimizer step.
        accumulation_steps: Passes per optimizer step.
        global_batch_size: Samples per optimizer step, where the passes do not add up to it.
    """
    global_batch_size = global_batch_size or batch_size * accumulation_steps * num_devices
    iterations = iterations_per_epoch(dataset_size, global_batch_size, drop_last=drop_last)
    last = last_batch_size(dataset_size, global_batch_size, drop_last=drop_last)
    steps = [(max(0, iterations - 1), global_batch_size), (1, last)]
    num_passes = 0.0
    for count, samples in steps:
        per_device = -(-samples // num_devices)
        full, rest = divmod(per_device, batch_size)
        num_passes += count * (full + _share_of_a_pass(rest, batch_size, curve))
    return num_passes * step_time_s


def _share_of_a_pass(samples: int, batch_size: int, curve: ThroughputCurve | None) -> float:
    if samples == 0:
        return 0.0
    whole_s = curve.step_time_s(batch_size) if curve is not None and curve.is_good else 0.0
    if curve is None or whole_s <= 0:
        return samples / batch_size
    return curve.step_time_s(samples) / whole_s


def find_regime(global_batch_size: int, dataset_size: int | None) -> Regime | None:
    """Name the regime of training; ``None`` without a dataset size.

    Args:
        global_batch_size: Samples per optimizer step.
        dataset_size: Samples in an epoch.
    """
    if dataset_size is None:
        return None
    if global_batch_size >= dataset_size:
        return Regime.FULL_BATCH
    return Regime.STOCHASTIC if global_batch_size == 1 else Regime.MINI_BATCH

"""What bounds the throughput at a batch size."""

from __future__ import annotations

from autobatch.records import Bottleneck, ThroughputCurve, Trial

_DATA_LOADING_FRACTION = 0.5
_KERNEL_TIME_FRACTION = 0.1
_LAUNCH_FRACTION = 0.5
# A page of 4 KiB was seen to take the kernel 1 us to clear and map on a quiet machine and up to
# 7 us in a virtual machine with busy neighbours.
_FAULT_TIME_S = 4e-6
_EXPLAINED_FRACTION = 0.5


def find_bottleneck(trial: Trial, curve: ThroughputCurve | None) -> Bottleneck:
    """Say what bounds the throughput: the first that applies, in the order below.

    Data loading, if waiting for a batch takes half of the step; page faults, if the kernel
    is busy with them; launch overhead, if more than half of the step does not depend on its
    size; else the device itself.

    Args:
        trial: The size in question, timed.
        curve: Fitted step time. One that describes the measurements poorly says nothing of
            launch overhead.
    """
    if waits_for_data(trial):
        return Bottleneck.DATA_LOADING
    if has_costly_page_faults(trial):
        return Bottleneck.PAGE_FAULTS
    step_time_s = trial.step_time_s
    if step_time_s is None or curve is None or not curve.is_good:
        return Bottleneck.DEVICE
    is_mostly_latency = curve.latency_s > _LAUNCH_FRACTION * step_time_s
    return Bottleneck.LAUNCH_OVERHEAD if is_mostly_latency else Bottleneck.DEVICE


def data_fraction(trial: Trial) -> float:
    """Fraction of a step spent waiting for its batch; 0 if nothing was timed."""
    step_time_s, data_time_s = trial.step_time_s, trial.data_time_s
    return data_time_s / step_time_s if step_time_s and data_time_s is not None else 0.0


def waits_for_data(trial: Trial) -> bool:
    """Whether at least half of a step is spent waiting for its batch."""
    return data_fraction(trial) >= _DATA_LOADING_FRACTION


def has_costly_page_faults(trial: Trial) -> bool:
    """Whether page faults can explain that the kernel takes a good part of the step.

    They can if there is one for every 4 us of at least half of the kernel's time.
    """
    faults, kernel = trial.page_faults_per_step, trial.kernel_time_fraction
    if faults is None or kernel is None or trial.step_time_s is None:
        return False
    kernel_time_s = kernel * trial.step_time_s
    can_explain = faults * _FAULT_TIME_S >= _EXPLAINED_FRACTION * kernel_time_s
    return kernel > _KERNEL_TIME_FRACTION and can_explain

"""What a worker answers to requests other than trials: noise, splits, training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autobatch.devices.base import Device
from autobatch.probe.failures import describe_death, to_failure
from autobatch.probe.noise import measure_noise
from autobatch.probe.protocol import (
    Failure,
    NoiseReply,
    NoiseRequest,
    Reply,
    SplitReply,
    SplitRequest,
    TrainReply,
    TrainRequest,
)
from autobatch.probe.training import train_slice
from autobatch.records import Outcome, RunOutcome, Settings
from autobatch.workload.split import split_data
from autobatch.workload.task import TrainingTask

if TYPE_CHECKING:
    from autobatch.probe.isolate import ChildDied

_DOING = {
    NoiseRequest: "while the gradient noise scale was measured",
    TrainRequest: "while it was trained",
}


def carry_out(
    task: TrainingTask, device: Device, settings: Settings, request: NoiseRequest | TrainRequest
) -> Reply:
    """Measure noise or train; every exception becomes a ``Failure``."""
    precision, seed = settings.precision, settings.seed
    try:
        if isinstance(request, TrainRequest):
            return train_slice(task, device, request, precision=precision, seed=seed)
        noise = measure_noise(task, device, request, precision=precision, seed=seed)
        return NoiseReply(noise=noise)
    except BaseException as error:
        return to_failure(error, doing=_DOING[type(request)])


def answer_for_the_dead(request: NoiseRequest | TrainRequest, death: ChildDied) -> Reply:
    """The answer of a child that ended without one."""
    outcome, message = describe_death(death, request.timeout_s)
    if isinstance(request, TrainRequest):
        is_memory = outcome is Outcome.OVER_BUDGET
        return TrainReply(
            outcome=RunOutcome.OUT_OF_MEMORY if is_memory else RunOutcome.KILLED,
            peak_bytes=death.peak_bytes,
            message=message,
        )
    return Failure(
        error="WorkerError",
        message=f"measuring the gradient noise scale: {message}",
        hint="raise --memory-limit or --trial-timeout, or use --goal throughput",
    )


def count_samples(task: TrainingTask, settings: Settings, request: SplitRequest) -> Reply:
    """Samples of an epoch, once some are held out."""
    split = split_data(
        task.source,
        validation_fraction=request.validation_fraction,
        num_folds=request.num_folds,
        fold=0,
        seed=settings.seed,
    )
    return SplitReply(num_train_samples=split.num_train_samples)

"""The parts of a rehearsal, one after the other, in one process."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

from autobatch.devices.sticky import undo_at_end
from autobatch.errors import first_line_of
from autobatch.probe.protocol import JobContext
from autobatch.probe.trial.compiled import run_eagerly
from autobatch.probe.trial.evaluation import WATCHED_FRACTION, EvaluationStep
from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.probe.trial.start import start_anew
from autobatch.probe.trial.step import TrainingStep
from autobatch.records.rehearsal import Rehearsal, RehearsedStage
from autobatch.units import format_bytes, format_count

if TYPE_CHECKING:
    from autobatch.rehearsal.job import RehearsalJob

_NUM_WORST_PASSES = 2
_OUTSIDE = (
    "what runs outside the training and optimizer step: callbacks, metrics, copies of weights"
)
_KEPT = "an evaluation that keeps its outputs, and generation"


def rehearse(
    context: JobContext, job: RehearsalJob, clock: Callable[[], float] = time.monotonic
) -> Rehearsal:
    """Rehearse a training.

    Args:
        context: What to train, where, and the memory budget.
        job: How much of it.
        clock: Returns seconds from any origin.

    Returns:
        What ran and whether it fitted; the first part that did not is the last.
    """
    task, device = context.task, context.device
    budget_bytes = context.limits.budget_bytes
    if context.is_apart:  # fail as an exception that names its part, before the process is ended
        budget_bytes = round(WATCHED_FRACTION * budget_bytes)
    task.model.to(device.name)
    start_anew(device, context.seed)
    with (
        run_eagerly(),
        undo_at_end(lambda: task.built.optimizer.zero_grad(set_to_none=True)),
        device.enforce(budget_bytes),
    ):
        return _Rehearsal(context, job, clock).run()


class _Rehearsal:
    def __init__(self, context: JobContext, job: RehearsalJob, clock: Callable[[], float]) -> None:
        task = self._task = context.task
        name, precision = context.device.name, context.precision
        self._device, self._job, self._clock = context.device, job, clock
        self._budget_bytes = context.limits.budget_bytes
        self._train = TrainingStep(task, name, precision, num_passes=job.num_passes)
        self._evaluate = EvaluationStep(task, name, precision)
        self._worst = task.source.worst_batch(job.batch_size)
        self._batches = task.source.batches(job.batch_size)
        self._num_steps = 0

    def run(self) -> Rehearsal:
        stages: list[RehearsedStage] = []
        left_out = [_KEPT, _OUTSIDE]
        for name, work in self._parts():
            try:
                stage = self._run_stage(name, work)
            except Exception as error:
                if name() != "evaluation":  # some training steps cannot be evaluated
                    raise
                left_out.append(f"evaluation, which raised {type(error).__name__}")
                continue
            stages.append(stage)
            if not stage.fits:
                break
        return Rehearsal(
            batch_size=self._job.batch_size,
            stages=tuple(stages),
            not_rehearsed=(*self._find_rest(), *left_out),
        )

    def _parts(self) -> Iterator[tuple[Callable[[], str], Callable[[], None]]]:
        if self._worst is not None:
            yield lambda: "the largest samples", self._run_worst
        yield lambda: f"{format_count(self._num_steps)} shuffled steps", self._soak
        yield lambda: "evaluation", self._run_evaluation
        yield lambda: "saving a checkpoint", self._save

    def _run_stage(self, name: Callable[[], str], work: Callable[[], None]) -> RehearsedStage:
        self._device.reset_peak()
        message = ""
        try:
            work()
            self._device.synchronize()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            message = first_line_of(error)
        peak_bytes = self._device.read_peak().peak_bytes
        if not message and peak_bytes is not None and peak_bytes > self._budget_bytes:
            peak, budget = format_bytes(peak_bytes), format_bytes(self._budget_bytes)
            message = f"memory of {peak} exceeded the budget of {budget}"
        return RehearsedStage(name=name(), fits=not message, peak_bytes=peak_bytes, message=message)

    def _run_worst(self) -> None:
        for _ in range(max(_NUM_WORST_PASSES, self._job.num_passes)):
            self._train(self._worst)

    def _soak(self) -> None:
        begin = self._clock()
        while self._num_steps < self._job.max_steps:
            for _ in range(self._job.num_passes):
                self._train(next(self._batches))
            self._num_steps += 1
            if self._clock() - begin > self._job.max_time_s:
                break

    def _run_evaluation(self) -> None:
        batch = self._worst if self._worst is not None else next(self._batches)
        for _ in range(_NUM_WORST_PASSES):
            self._evaluate(batch)

    def _save(self) -> None:
        state: dict[str, Any] = {
            "model": self._task.model.state_dict(),
            "optimizer": self._task.built.optimizer.state_dict(),
        }
        nowhere: Any = _Nowhere()
        torch.save(state, nowhere)

    def _find_rest(self) -> Iterator[str]:
        size, per_step = self._task.source.dataset_size, self._job.batch_size * self._job.num_passes
        if size is None:
            yield "steps beyond those: the dataset does not tell its size"
        elif -(-size // per_step) > self._num_steps:
            steps = format_count(-(-size // per_step))
            yield f"the rest of an epoch of {steps} steps"
        lengths = self._task.source.lengths
        if lengths is not None and lengths.num_scanned < lengths.num_samples:
            count = format_count(lengths.num_samples - lengths.num_scanned)
            yield f"{count} samples that were not scanned for their length"


class _Nowhere(io.RawIOBase):
    """A file that takes all and keeps nothing: what is rehearsed is memory, not the disk."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return memoryview(data).nbytes

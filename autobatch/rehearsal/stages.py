"""The parts of a rehearsal, one after the other, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from autobatch.devices.sticky import undo_at_end
from autobatch.errors import first_line_of
from autobatch.probe.protocol import JobContext
from autobatch.probe.trial.compiled import run_eagerly
from autobatch.probe.trial.evaluation import WATCHED_FRACTION, EvaluationStep
from autobatch.probe.trial.save import save_checkpoint
from autobatch.probe.trial.start import start_anew
from autobatch.probe.trial.step import TrainingStep
from autobatch.probe.trial.worst import NUM_WORST_PASSES, make_worst_batch, make_worst_batches
from autobatch.records.rehearsal import SAVING, Rehearsal, RehearsedStage
from autobatch.rehearsal.evaluation import CannotEvaluateError, WholeEvaluation
from autobatch.rehearsal.soak import Soak
from autobatch.rehearsal.stage import StageRunner
from autobatch.units import format_count
from autobatch.workload.contract import Workload

if TYPE_CHECKING:
    from autobatch.rehearsal.job import RehearsalJob

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
        self._context, self._job, self._clock = context, job, clock
        self._train = TrainingStep(task, name, precision, num_passes=job.num_passes)
        self._evaluate = EvaluationStep(task, name, precision)
        self._batches = task.source.batches(job.batch_size)
        self._stage = StageRunner(context, job.batch_size)
        self._soak = Soak(job, self._step, self._count_steps(), clock)

    def run(self) -> Rehearsal:
        stages: list[RehearsedStage] = []
        for stage in self._run_all():
            stages.append(stage)
            if not stage.fits:
                break
        return Rehearsal(
            batch_size=self._job.batch_size,
            stages=tuple(stages),
            not_rehearsed=(*self._find_rest(), *self._stage.left_out, _OUTSIDE),
        )

    def _run_all(self) -> Iterator[RehearsedStage]:
        for name, batch in make_worst_batches(self._task.source, self._job.batch_size):
            if batch is not None:
                yield self._stage.run(name, partial(self._run_worst, batch))
        yield self._stage.run("shuffled steps", lambda: self._soak.run(self._stage))
        yield from self._run_evaluation()
        yield self._stage.run(SAVING, self._save)

    def _step(self) -> None:
        for _ in range(self._job.num_passes):
            self._train(next(self._batches))

    def _run_worst(self, batch: Any) -> str:
        for _ in range(max(NUM_WORST_PASSES, self._job.num_passes)):
            self._train(batch)
        return ""

    def _run_evaluation(self) -> Iterator[RehearsedStage]:
        """The workload's own evaluation, and that of a batch where it has none."""
        try:
            own = self._find_own_evaluation()
            if own is not None:
                yield self._stage.run("evaluation", lambda: own.run(self._stage))
                return
            self._stage.left_out.append(_KEPT)
        except CannotEvaluateError as error:
            self._stage.left_out.append(f"{_KEPT}: {error}")
        except Exception as error:
            raised = f"'evaluate' raised {type(error).__name__}: {first_line_of(error)}"
            self._stage.left_out.append(f"{_KEPT}: {raised}")
        try:
            yield self._stage.run("evaluation of a batch", self._evaluate_batch)
        except Exception as error:  # some training steps cannot be evaluated
            self._stage.left_out.append(f"evaluation, which raised {type(error).__name__}")

    def _find_own_evaluation(self) -> WholeEvaluation | None:
        workload, job = self._task.workload, self._job
        if workload.evaluate is None or workload.eval_loader is None:
            return None
        size = job.eval_batch_size or self._guess_eval_batch_size(workload)
        return WholeEvaluation(self._context, size, job.max_evaluation_s, self._clock)

    def _guess_eval_batch_size(self, workload: Workload) -> int:
        """That of its loader; where that is the one trained with now, it changes with this one."""
        own = workload.eval_loader.batch_size if workload.eval_loader else None
        now = workload.batch_size or getattr(workload.train_loader, "batch_size", None)
        return self._job.batch_size if own is None or own == now else own

    def _evaluate_batch(self) -> str:
        batch = self._make_worst()
        for _ in range(NUM_WORST_PASSES):
            self._evaluate(batch)
        return ""

    def _save(self) -> str:
        """Save, and go on: a checkpoint may leave copies behind."""
        save_checkpoint(self._task)
        self._run_worst(self._make_worst())
        return ""

    def _make_worst(self) -> Any:
        worst = make_worst_batch(self._task.source, self._job.batch_size)
        return next(self._batches) if worst is None else worst

    def _count_steps(self) -> int | None:
        """Steps of an epoch; ``None`` if the dataset does not tell its size."""
        size, per_step = self._task.source.dataset_size, self._job.batch_size * self._job.num_passes
        return None if size is None else -(-size // per_step)

    def _find_rest(self) -> Iterator[str]:
        steps = self._count_steps()
        if steps is None:
            yield "steps beyond those: the dataset does not tell its size"
        elif steps > self._soak.num_steps:
            yield f"the rest of an epoch of {format_count(steps)} steps"
        lengths = self._task.source.lengths
        if lengths is not None and lengths.num_scanned < lengths.num_samples:
            count = format_count(lengths.num_samples - lengths.num_scanned)
            yield f"{count} samples that were not scanned for their length"

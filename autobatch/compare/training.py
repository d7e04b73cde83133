"""Training for real, some epochs at a time, in a process that may die of it.

    state file, or the initial one -> epoch, epoch, ... until the slice is used -> state file

Between two slices a run is a file, so that it can go on in another process after one has died,
and many runs can be trained in turn. Each epoch has a seed of its own, and so the same order of
samples whatever came before it.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from autobatch.compare.jobs import TrainJob, TrainReply
from autobatch.compare.records import EpochResult, RunOutcome, epochs_to_loss
from autobatch.compare.split import Split, split_data
from autobatch.devices.sticky import is_sticky
from autobatch.errors import DeviceLostError, SettingsError, WorkloadError, first_line_of
from autobatch.probe.protocol import JobContext
from autobatch.probe.trial.evaluation import EvaluationStep
from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.probe.trial.start import drop_gradients_at_end, seed_everything, start_threads
from autobatch.probe.trial.step import USUAL_LOSS_SCALE, TrainingStep
from autobatch.units import format_count, format_seconds

_LOOK_EVERY = 50
_TELL_EVERY_S = 2.0
_DIVERGED_FACTOR = 1e4
_EVALUATION_BATCH_SIZE = 64
# Losses kept of one slice; a plot has no room for more.
_MAX_LOSSES = 400


class OwnStepsError(WorkloadError):
    """A training step steps its own optimizers, whose rates a comparison cannot set."""


def train_slice(
    context: JobContext,
    job: TrainJob,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> TrainReply:
    """Train one batch size for some epochs.

    Out of memory and a loss that is not finite are outcomes, and so is any other error of the
    user's code, since it may be one of this batch size only.

    Args:
        context: What to train, where, and the memory budget; its weights are changed.
        job: The batch size, the epochs and the files.
        clock: Returns seconds from any origin.

    Raises:
        SettingsError: If the whole training set is asked for and its size is not known.
        WorkloadError: If there is no dataset to train on, or the training step steps itself.
        DeviceLostError: If this process can use the device no more.
    """
    task, device = context.task, context.device
    split = split_data(task.source, job.validation_fraction, context.seed)
    device.release()
    start_threads()
    run = _Slice(context, job, split, clock)
    try:
        with (
            drop_gradients_at_end(task.built.optimizer),
            device.enforce(context.limits.budget_bytes),
        ):
            return run.train()
    except (SettingsError, OwnStepsError):
        raise
    except Exception as error:
        text = first_line_of(error)
        if is_sticky(error):
            raise DeviceLostError(f"training left the device unusable: {text}") from error
        if is_out_of_memory(error):
            return run.reply(RunOutcome.OUT_OF_MEMORY, text)
        return run.reply(RunOutcome.FAILED, f"{type(error).__name__}: {text}")


class _Slice:
    """The epochs of one job."""

    def __init__(
        self, context: JobContext, job: TrainJob, split: Split, clock: Callable[[], float]
    ) -> None:
        task = self._task = context.task
        self._device = context.device
        self._job = job
        self._split = split
        self._seed = context.seed
        self._clock = clock
        self._batch_size = _resolve(job.batch_size, split)
        name, precision = context.device.name, context.precision
        self._step = TrainingStep(task, name, precision, loss_scale=USUAL_LOSS_SCALE)
        # Some training steps ask for gradients of their own, such as those of a penalty.
        needs_gradients = task.workload.training_step is not None
        self._evaluate = EvaluationStep(task, name, precision, with_gradients=needs_gradients)
        self._epochs: list[EpochResult] = []
        self._losses: list[float] = []
        self._first_loss = math.nan
        self._last_loss = math.nan
        self._peak_bytes: int | None = None
        self._tell = context.tell

    def train(self) -> TrainReply:
        self._restore()
        self._task.built.set_rates(self._job.rate_multiplier, self._job.learning_rate)
        begin = self._clock()
        for number in range(self._job.num_epochs_done, self._job.num_epochs):
            if self._epochs and self._clock() - begin > self._job.slice_s:
                break
            if not self._train_epoch(number):
                return self.reply(RunOutcome.DIVERGED, f"the loss is {self._last_loss:g}")
            if epochs_to_loss(self._epochs, self._job.stop_at_loss) is not None:
                break
        self._keep()
        return self.reply(RunOutcome.UNFINISHED)

    def reply(self, outcome: RunOutcome, message: str = "") -> TrainReply:
        kept = _thin(len(self._losses), is_start=self._job.num_epochs_done == 0)
        rates = {group.get("lr") for group in self._task.built.optimizer.param_groups}
        rate = rates.pop() if len(rates) == 1 else None
        return TrainReply(
            outcome=outcome,
            epochs=tuple(self._epochs),
            iterations=tuple(index + 1 for index in kept),
            losses=tuple(self._losses[index] for index in kept),
            learning_rate=None if rate is None else float(rate),
            peak_bytes=self._peak_bytes,
            message=message,
        )

    def _train_epoch(self, number: int) -> bool:
        """Train an epoch; return whether the loss is still finite."""
        seed_everything(self._seed + 1_000_003 * number)
        self._task.model.train()
        self._device.reset_peak()
        losses: list[torch.Tensor] = []
        counts: list[int] = []
        begin, what = self._clock(), f"epoch {number + 1}"
        batches = self._split.train_batches(self._batch_size, self._seed + number)
        for count, batch in self._followed(batches, self._split.num_train_samples, what):
            losses.append(self._step(batch))
            if self._task.loss.facts.steps_itself:  # at rates of zero, as in any trial
                raise OwnStepsError(
                    f"nothing to compare: {self._task.loss.facts.description}",
                    hint="return the loss from it, without backward() and step()",
                )
            counts.append(count)
            if len(losses) % _LOOK_EVERY == 0 and not math.isfinite(float(losses[-1])):
                break
        self._device.synchronize()
        time_s = self._clock() - begin
        self._peak_bytes = max(self._peak_bytes or 0, self._device.read_peak().peak_bytes or 0)
        values = torch.stack(losses).float().tolist()
        noise = _spread(values, self._last_loss)
        self._note(values)
        if not self._is_sound(values):
            return False
        validation_loss = self._validate(f"{what}, evaluating")
        if validation_loss is not None and not math.isfinite(validation_loss):
            self._last_loss = validation_loss
            return False
        self._epochs.append(
            EpochResult(
                num_iterations=len(values),
                time_s=time_s,
                train_loss=_weighted_mean(values, counts),
                validation_loss=validation_loss,
                loss_noise=noise,
            )
        )
        return True

    def _followed(
        self, batches: Iterable[tuple[int, Any]], whole: int | None, what: str
    ) -> Iterator[tuple[int, Any]]:
        """The same batches; now and then how many of the samples are done is told."""
        num_done, begin_s = 0, self._clock()
        told_s = begin_s
        for count, batch in batches:
            yield count, batch
            num_done += count
            now_s = self._clock()
            if now_s - told_s > _TELL_EVERY_S:
                told_s = now_s
                self._tell(f"{what}: {_describe(num_done, whole, now_s - begin_s)}")

    def _note(self, values: list[float]) -> None:
        if math.isnan(self._first_loss):
            self._first_loss = values[0]
        self._last_loss = values[-1]
        self._losses += [value for value in values if math.isfinite(value)]

    def _is_sound(self, values: list[float]) -> bool:
        # From a first loss near zero a loss may well rise.
        limit = _DIVERGED_FACTOR * max(abs(self._first_loss), 1.0)
        return all(math.isfinite(value) for value in values) and abs(values[-1]) < limit

    def _validate(self, what: str) -> float | None:
        held_out = self._split.validation
        if held_out is None:
            return None
        size = max(self._batch_size, _EVALUATION_BATCH_SIZE)
        rows = [
            (float(self._evaluate(batch)), count)
            for count, batch in self._followed(
                self._split.validation_batches(size), len(held_out), what
            )
        ]
        return _weighted_mean([loss for loss, _ in rows], [count for _, count in rows])

    def _restore(self) -> None:
        initial, state = Path(self._job.initial_path), Path(self._job.state_path)
        if not initial.exists():
            _save(self._state(), initial)
        path = state if self._job.num_epochs_done else initial
        # A file of our own, in a folder that nobody else can write to.
        loaded = torch.load(path, map_location=self._device.name, weights_only=False)
        self._task.model.load_state_dict(loaded["model"])
        self._task.built.optimizer.load_state_dict(loaded["optimizer"])
        self._first_loss, self._last_loss = loaded["losses"]

    def _keep(self) -> None:
        _save(self._state(), Path(self._job.state_path))

    def _state(self) -> dict[str, object]:
        return {
            "model": self._task.model.state_dict(),
            "optimizer": self._task.built.optimizer.state_dict(),
            "losses": (self._first_loss, self._last_loss),
        }


def _describe(num_done: int, whole: int | None, spent_s: float) -> str:
    if whole is None:
        return f"{format_count(num_done)} samples"
    left = format_seconds(max(1, round(spent_s * (whole - num_done) / num_done)))
    return f"{format_count(num_done)} of {format_count(whole)} samples, {left} left"


def _resolve(batch_size: int | None, split: Split) -> int:
    if batch_size is not None:
        return min(batch_size, split.num_train_samples or batch_size)
    if split.num_train_samples is None:
        raise SettingsError(
            "batch size 'full' of an iterable dataset that does not tell its length",
            hint="give the size as a number, or the dataset a __len__",
        )
    return split.num_train_samples


def _thin(count: int, *, is_start: bool) -> Sequence[int]:
    """Which of the losses of a slice to keep, as a plot spaces them on its logarithmic axis.

    Args:
        count: How many there are.
        is_start: Whether they are the first of the run, where the axis has most room for each.
    """
    if count <= _MAX_LOSSES or not is_start:
        return range(0, count, max(1, math.ceil(count / _MAX_LOSSES)))
    ratio = count ** (1 / (_MAX_LOSSES - 1))
    return sorted({min(count, round(ratio**step)) - 1 for step in range(_MAX_LOSSES)})


def _spread(values: list[float], before: float) -> float | None:
    with_before = values if math.isnan(before) else [before, *values]
    pairs = list(pairwise(with_before))
    if not pairs:
        return None
    return math.sqrt(sum((b - a) ** 2 for a, b in pairs) / len(pairs) / 2)


def _weighted_mean(values: list[float], counts: list[int]) -> float:
    return sum(v * n for v, n in zip(values, counts, strict=True)) / max(1, sum(counts))


def _save(state: dict[str, object], path: Path) -> None:
    draft = path.with_suffix(f".{os.getpid()}")
    torch.save(state, draft)
    draft.replace(path)

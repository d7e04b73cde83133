"""Measuring the gradient noise scale: gradients of micro-batches, one after the other.

    real shuffled data -> micro-batch -> forward, loss, backward -> added to one of some blocks
                          ^---------- again, at most once through the dataset ------------'

The optimizer does not step meanwhile. Only sums over blocks of micro-batches are kept, as many
blocks as memory allows; their dot products say how far the gradients agree.

At the first weights the gradients of all samples agree on what is learned within some steps, such
as how often each class occurs, and the noise scale says little of what follows: that of
examples/char_gpt.py grows from 1 to some 80 within a hundred steps. If the plan has a training, its
steps run between two measurements and are undone after the second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from autobatch.devices.sticky import undo_at_end
from autobatch.errors import SettingsError, WorkloadError
from autobatch.noise.estimate import MIN_BLOCKS, GradientSums, estimate_noise_scale
from autobatch.noise.job import NoisePlan, ShortTraining, needs_real_data
from autobatch.probe.isolation.saved_state import SavedState
from autobatch.probe.protocol import JobContext
from autobatch.probe.trial.compiled import run_eagerly
from autobatch.probe.trial.evaluation import buffers_kept
from autobatch.probe.trial.start import drop_gradients_at_end, seed_everything, start_anew
from autobatch.probe.trial.step import USUAL_LOSS_SCALE, TrainingStep
from autobatch.records import NoiseScale
from autobatch.units import format_bytes, format_count
from autobatch.workload.repeated import RepeatedSource
from autobatch.workload.task import TrainingTask

_MEMORY_SHARE = 0.25
_SHARE_BEFORE_TRAINING = 0.25
_BYTES_PER_NUMBER = 4
_CHUNK = 2**20


def measure_gradients(
    context: JobContext,
    plan: NoisePlan,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> NoiseScale:
    """Measure the noise scale, at the weights that the model has or after a short training.

    The model stays in training mode, as it is trained; its weights, buffers and gradients are
    as before once it is done, or the process is a child whose end undoes what changed. If the
    training diverges, the figure is that of the weights before. The loss is taken to be a mean
    over the batch's samples. With BatchNorm the mean gradient depends on the size of the
    micro-batches; the figure is then that of training with such batches.

    Args:
        context: What to train, where, and the memory budget.
        plan: The micro-batches, and what to train before.
        clock: Returns seconds from any origin.

    Raises:
        WorkloadError: If the data is not real or too little, or a gradient is not finite.
        SettingsError: If the budget does not hold the gradients.
    """
    task, device = context.task, context.device
    start_anew(device, context.seed)
    probe = _NoiseProbe(context, plan, clock)
    with (
        run_eagerly(),  # a model would be compiled for a size of its own
        device.enforce(context.limits.budget_bytes),
        drop_gradients_at_end(task.built.optimizer),
    ):
        training = plan.training
        if training is None:
            return probe.measure(plan.max_time_s)
        before = probe.measure(_SHARE_BEFORE_TRAINING * plan.max_time_s)
        with _training_undone(context):
            num_steps = probe.train(training)
            if num_steps == 0:
                return before
            seed_everything(context.seed)
            try:
                after = probe.measure((1 - _SHARE_BEFORE_TRAINING) * plan.max_time_s)
            except WorkloadError:  # no loss was infinite, but gradients are
                return before
        return replace(after, num_training_steps=num_steps, initial_noise_scale=before.noise_scale)


class _NoiseProbe:
    """Measures, and trains in between."""

    def __init__(self, context: JobContext, plan: NoisePlan, clock: Callable[[], float]) -> None:
        task = self._task = context.task
        self._device = context.device
        self._plan = plan
        self._precision = context.precision
        self._clock = clock
        self._num_most = _count_micro_batches(task, plan)
        self._parameters = [each for each in task.model.parameters() if each.requires_grad]
        self._step = TrainingStep(task, context.device.name, context.precision)
        budget_bytes = context.limits.budget_bytes
        num_blocks = min(plan.max_blocks, self._num_most)
        self._num_blocks = min(num_blocks, _count_blocks(self._parameters, budget_bytes))

    def measure(self, max_time_s: float) -> NoiseScale:
        """The noise scale at the present weights."""
        plan, begin = self._plan, self._clock()
        with buffers_kept(self._task.model):
            sums = _Sums(self._parameters, self._num_blocks, plan.micro_batch_size)
            batches = self._task.source.batches(plan.micro_batch_size)
            for count, batch in enumerate(batches, start=1):
                self._step.backward(batch)
                sums.add()
                is_late = self._clock() - begin >= max_time_s
                if count == self._num_most or (is_late and count >= plan.min_micro_batches):
                    break
            return _estimate(sums)

    def train(self, training: ShortTraining) -> int:
        """Train for real; return the number of steps, 0 if it diverged."""
        self._task.built.set_rates(training.rate_multiplier, training.learning_rate)
        step = TrainingStep(
            self._task, self._device.name, self._precision, loss_scale=USUAL_LOSS_SCALE
        )
        begin, count, losses = self._clock(), 0, []
        for count, batch in enumerate(self._task.source.batches(training.batch_size), start=1):
            losses.append(step(batch))
            if count == training.num_steps or self._clock() - begin >= training.max_time_s:
                break
        return count if bool(torch.stack(losses).isfinite().all()) else 0


@contextmanager
def _training_undone(context: JobContext) -> Iterator[None]:
    """Put weights and optimizer state back, except in a child, which ends soon."""
    if context.is_apart:
        yield
        return
    saved = SavedState([context.task.model, context.task.built.optimizer], [])
    with undo_at_end(saved.restore):
        yield


def _estimate(sums: _Sums) -> NoiseScale:
    try:
        return estimate_noise_scale(sums.read())
    except ValueError as error:
        raise WorkloadError(
            f"the gradient noise scale cannot be told: {error}",
            hint="look for a loss that overflows, or use `precision=fp32`",
        ) from error


def _count_micro_batches(task: TrainingTask, plan: NoisePlan) -> int:
    """The most micro-batches, so that no sample comes twice."""
    if isinstance(task.source, RepeatedSource):
        raise needs_real_data(task.source.description)
    size = task.source.dataset_size
    count = plan.max_micro_batches
    if size is not None:
        count = min(count, size // plan.micro_batch_size)
    if count < MIN_BLOCKS:
        raise WorkloadError(
            f"the dataset's {size} samples are too few for the gradient noise scale: it takes "
            f"{MIN_BLOCKS} micro-batches of {plan.micro_batch_size}",
            hint="use a larger dataset, or `goal=throughput`",
        )
    return count


def _count_blocks(parameters: list[nn.Parameter], budget_bytes: int) -> int:
    """The most sums of gradients that a budget holds."""
    num_numbers = sum(each.numel() for each in parameters)
    block_bytes = _BYTES_PER_NUMBER * max(1, num_numbers)
    num_fitting = int(_MEMORY_SHARE * budget_bytes / block_bytes)
    if num_fitting < MIN_BLOCKS:
        raise SettingsError(
            f"the gradient noise scale of {format_count(num_numbers)} parameters needs "
            f"{format_bytes(MIN_BLOCKS * block_bytes)} for gradients, more than a quarter of the "
            f"budget of {format_bytes(budget_bytes)}",
            hint="raise `memory_limit`, or use `goal=throughput`",
        )
    return num_fitting


class _Sums:
    """Sums of gradients over blocks of micro-batches, dealt out in turn."""

    def __init__(
        self, parameters: list[nn.Parameter], num_blocks: int, micro_batch_size: int
    ) -> None:
        self._parameters = parameters
        self._micro_batch_size = micro_batch_size
        self._blocks = [
            [torch.zeros_like(each, dtype=torch.float32) for each in parameters]
            for _ in range(num_blocks)
        ]
        self._squared_norms = torch.zeros(num_blocks, device=parameters[0].device)
        self._counts = np.zeros(num_blocks, dtype=int)

    def add(self) -> None:
        """Add the gradients that the parameters have now."""
        index = int(self._counts.sum()) % len(self._counts)
        for total, parameter in zip(self._blocks[index], self._parameters, strict=True):
            if parameter.grad is not None:
                gradient = parameter.grad.detach()
                gradient = gradient.to_dense() if gradient.is_sparse else gradient
                total.add_(gradient)
                self._squared_norms[index] += gradient.float().square().sum()
        self._counts[index] += 1

    def read(self) -> GradientSums:
        """The dot products of all blocks that hold anything."""
        used = int(np.count_nonzero(self._counts))
        dot_products = np.zeros((used, used))
        for tensors in zip(*self._blocks[:used], strict=True):
            flat = [each.flatten() for each in tensors]
            for begin in range(0, len(flat[0]), _CHUNK):
                rows = [each[begin : begin + _CHUNK].cpu() for each in flat]
                chunk = torch.stack(rows).double().numpy()
                dot_products += chunk @ chunk.T
        return GradientSums(
            dot_products=dot_products,
            squared_norms=self._squared_norms[:used].cpu().double().numpy(),
            counts=self._counts[:used],
            micro_batch_size=self._micro_batch_size,
        )

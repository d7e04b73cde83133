"""The gradient of a batch and that of its parts, on the user's own loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from autobatch.accumulation.batch import split_batch
from autobatch.devices.sticky import is_sticky
from autobatch.errors import first_line_of
from autobatch.probe.protocol import JobContext
from autobatch.probe.trial.compiled import run_eagerly
from autobatch.probe.trial.evaluation import buffers_kept
from autobatch.probe.trial.start import drop_gradients_at_end, seed_everything, start_anew
from autobatch.records.accumulation import AccumulationCheck
from autobatch.workload.task import move_to

_BATCH_NORM = nn.modules.batchnorm._BatchNorm


def compare_gradients(context: JobContext, batch_size: int, num_passes: int) -> AccumulationCheck:
    """Compare the gradient of one batch with the mean of those of its parts.

    Dropout is off. A loss that is a sum gives a gradient as many times as large, which is as the
    user wants it and counts as the same.

    Args:
        context: What to train, where, and the memory budget.
        batch_size: Samples of the batch.
        num_passes: Parts.

    Returns:
        The comparison, or why there is none: whatever the user's code raises is no error here.
    """
    result = AccumulationCheck(batch_size=batch_size, num_passes=num_passes)
    task, device = context.task, context.device
    start_anew(device, context.seed)
    with (
        run_eagerly(),
        drop_gradients_at_end(task.built.optimizer),
        device.enforce(context.limits.budget_bytes),
        buffers_kept(task.model),
    ):
        try:
            return _compare(_Gradients(context), context, batch_size, num_passes)
        except Exception as error:
            if is_sticky(error):
                raise
            return _without(result, f"{type(error).__name__}: {first_line_of(error)}")


def _compare(
    gradients: _Gradients, context: JobContext, batch_size: int, num_passes: int
) -> AccumulationCheck:
    result = AccumulationCheck(batch_size=batch_size, num_passes=num_passes)
    if context.task.loss.facts.steps_itself:
        return _without(result, "the training step makes its own optimizer steps")
    batch = next(context.task.source.batches(batch_size))
    parts = split_batch(batch, batch_size, num_passes)
    if not parts:
        return _without(result, "nothing in a batch could be split by samples")
    whole = gradients.of([batch])
    if not whole:
        return _without(result, "no parameter has a gradient")
    step = context.task.workload.training_step
    # A trainer that divides the loss of each pass by the tokens of all of them.
    is_weighed = getattr(step, "weighs_passes", False)
    has_norm = any(isinstance(each, _BATCH_NORM) for each in context.task.model.modules())
    return AccumulationCheck(
        batch_size=batch_size,
        num_passes=num_passes,
        chance_fraction=_difference(whole, gradients.of([batch]), 1),
        loss_difference_fraction=0.0
        if is_weighed
        else _difference(whole, gradients.of(parts), num_passes),
        norm_difference_fraction=_difference(
            gradients.of([batch], trains_norm=True),
            gradients.of(parts, trains_norm=True),
            num_passes,
        )
        if has_norm
        else None,
    )


def _without(result: AccumulationCheck, reason: str) -> AccumulationCheck:
    return AccumulationCheck(
        batch_size=result.batch_size, num_passes=result.num_passes, reason=reason[:300]
    )


class _Gradients:
    """Gradients at the present weights."""

    def __init__(self, context: JobContext) -> None:
        self._task = context.task
        self._device = torch.device(context.device.name)
        self._seed = context.seed
        self._count = 0
        self._task.model.to(self._device)
        self._parameters = [each for each in self._task.model.parameters() if each.requires_grad]

    def of(self, batches: Sequence[Any], *, trains_norm: bool = False) -> dict[int, torch.Tensor]:
        """The mean gradient of batches, by number of the parameter."""
        self._task.built.optimizer.zero_grad(set_to_none=True)
        self._task.model.zero_grad(set_to_none=True)
        self._count += 1
        seed_everything(self._seed + self._count)  # what is drawn must not be alike by seed
        with without_dropout(self._task.model, trains_norm=trains_norm):
            for batch in batches:
                # In full precision: half of it rounds by as much as some faults.
                loss = self._task.loss(self._task.model, move_to(batch, self._device))
                (loss / len(batches)).backward()  # type: ignore[no-untyped-call]
        return {
            number: _dense(each.grad).float()
            for number, each in enumerate(self._parameters)
            if each.grad is not None
        }


@contextmanager
def without_dropout(model: nn.Module, *, trains_norm: bool) -> Iterator[None]:
    """Evaluation mode for all that draws.

    Args:
        model: The module.
        trains_norm: Whether BatchNorm stays as it was.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    for module, was_training in modes:
        # cuDNN has no backward pass of a recurrent layer in evaluation mode.
        if isinstance(module, nn.RNNBase) or (trains_norm and isinstance(module, _BATCH_NORM)):
            module.training = was_training
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training


def _difference(
    whole: dict[int, torch.Tensor], parts: dict[int, torch.Tensor], num_passes: int
) -> float:
    """Norm of the difference over that of the whole, at the scale of a mean or of a sum."""
    norm = math.sqrt(sum(float(each.double().square().sum()) for each in whole.values()))
    if norm == 0:
        return 0.0
    differences: list[float] = []
    for scale in {1, num_passes}:
        squares: float = 0.0
        for number in whole.keys() | parts.keys():
            mine, theirs = whole.get(number), parts.get(number)
            if mine is None or theirs is None:
                left = mine if mine is not None else theirs
                assert left is not None
                squares += float(left.double().square().sum())
            else:
                squares += float((mine - scale * theirs).double().square().sum())
        differences.append(math.sqrt(squares) / norm)
    return min(1.0, *differences)


def _dense(gradient: torch.Tensor) -> torch.Tensor:
    return (gradient.to_dense() if gradient.is_sparse else gradient).detach().clone()

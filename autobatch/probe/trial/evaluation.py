"""Evaluation: forward passes in evaluation mode, beside all that training holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from autobatch.devices.sticky import undo_at_end
from autobatch.errors import message_of
from autobatch.probe.protocol import JobContext
from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.probe.trial.step import autocast, in_own_memory
from autobatch.records import Precision, Trial
from autobatch.workload.loss import NoLossError
from autobatch.workload.task import TrainingTask, move_to

_NUM_PASSES = 2
#: Where a parent watches the budget too, enforce this part of it, so that an exception comes first.
# The limit on private memory lets a tenth more through, for what is never touched.
WATCHED_FRACTION = 0.9


class EvaluationStep:
    """Forward pass and loss, as an evaluation between two epochs runs them.

    Args:
        task: What to evaluate.
        device_name: Where.
        precision: Arithmetic.
        with_gradients: Whether they can be asked for on the way; they take memory.
    """

    def __init__(
        self,
        task: TrainingTask,
        device_name: str,
        precision: Precision,
        *,
        with_gradients: bool = False,
    ) -> None:
        self._task = task
        self._device = torch.device(device_name)
        self._precision = precision
        self._with_gradients = with_gradients

    def __call__(self, batch: Any) -> Any:
        """Evaluate one batch.

        Returns:
            What the loss returns.
        """
        if self._device.type != "cpu":
            batch = move_to(batch, self._device)
        with (
            evaluation_mode(self._task.model),
            torch.set_grad_enabled(self._with_gradients),
            autocast(self._device, self._precision),
        ):
            result = self._task.loss.evaluate(self._task.model, batch)
        return in_own_memory(result.detach()) if isinstance(result, torch.Tensor) else result


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode; afterwards each module has its own mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, is_training in modes:
            module.training = is_training


@contextmanager
def buffers_kept(model: nn.Module) -> Iterator[None]:
    """Put back what a forward pass in training mode changes, such as running means."""
    before = {name: buffer.detach().clone() for name, buffer in model.named_buffers()}

    def put_back() -> None:
        for name, buffer in model.named_buffers():
            if name in before and before[name].shape == buffer.shape:
                buffer.detach().copy_(before[name])

    with undo_at_end(put_back):
        yield


def check_evaluation(trial: Trial, step: EvaluationStep, batch: Any, context: JobContext) -> Trial:
    """Evaluate at the size that a trial has just trained with.

    Args:
        trial: The trial, which fitted.
        step: Evaluates.
        batch: At the trial's size.
        context: Where, and the memory budget; the device's peak begins anew.

    Returns:
        The trial, and whether evaluation fits beside what training holds; ``None`` where
        evaluation raises, such as in a training step that needs gradients.
    """
    device, budget_bytes = context.device, context.limits.budget_bytes
    limit: AbstractContextManager[Any] = nullcontext()
    if context.is_apart:  # fail as an exception, before the whole trial is ended for its memory
        limit = device.enforce(round(WATCHED_FRACTION * budget_bytes))
    loss = context.task.loss.facts
    if loss.steps_itself:
        return replace(trial, eval_message=f"{loss.description} trains, and does not evaluate")
    device.release()  # else the peak is never below what training had reserved
    device.reset_peak()
    try:
        with limit, context.pace.careful("evaluation"):
            for _ in range(_NUM_PASSES):
                with suppress(NoLossError):  # the forward passes are what takes memory
                    step(batch)
            device.synchronize()
    except Exception as error:
        if is_out_of_memory(error):
            peak_bytes = device.read_peak().peak_bytes
            return replace(trial, eval_fits=False, eval_peak_bytes=peak_bytes)
        message = f"{type(error).__name__}: {message_of(error)}".partition("\n")[0][:300]
        return replace(trial, eval_message=message)
    peak_bytes = device.read_peak().peak_bytes
    return replace(
        trial,
        eval_fits=peak_bytes is None or peak_bytes <= budget_bytes,
        eval_peak_bytes=peak_bytes,
    )

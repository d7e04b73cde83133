"""The step that the user trains with, as one call."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from autobatch.errors import WorkloadError
from autobatch.records import Precision
from autobatch.workload.task import TrainingTask, move_to

#: Initial scale of a ``GradScaler`` in real training.
USUAL_LOSS_SCALE = 2.0**16
_AUTOCAST_DTYPES = {Precision.BF16: torch.bfloat16, Precision.FP16: torch.float16}


class TrainingStep:
    """Forward, loss, zero_grad, backward, optimizer step, in the chosen precision.

    Gradients are cleared between forward and backward, so that those of the step before are
    held through the forward pass: of the common orders, this needs the most memory. A training
    step that steps its own optimizers does all of it by itself. Of several passes per step
    the first clears gradients, each adds its own, and the optimizer steps after the last.

    Args:
        task: What to train.
        device_name: Where.
        precision: Arithmetic.
        loss_scale: Initial scale of the ``GradScaler``.
        num_passes: Calls that make an optimizer step.
    """

    def __init__(
        self,
        task: TrainingTask,
        device_name: str,
        precision: Precision,
        *,
        loss_scale: float = 1.0,
        num_passes: int = 1,
    ) -> None:
        self._task = task
        self._num_passes = num_passes
        self._num_done = 0
        self._device = torch.device(device_name)
        self._precision = precision
        # Disabled, it passes everything through. From its usual scale of 2**16 it would skip
        # optimizer steps until gradients no longer overflow, and their memory with them.
        self._scaler = torch.amp.GradScaler(
            self._device.type, init_scale=loss_scale, enabled=precision is Precision.FP16
        )
        if precision is Precision.TF32:
            _switch_tf32_on()

    def __call__(self, batch: Any) -> torch.Tensor:
        """Train on one batch.

        Returns:
            The loss, detached, on the device.
        """
        loss = self._forward(batch)
        if self._task.loss.facts.steps_itself:
            return in_own_memory(loss)
        self._backward(loss)
        self._num_done += 1
        if self._num_done % self._num_passes == 0:
            self._update()
        return in_own_memory(loss.detach())

    def _update(self) -> None:
        optimizer: Any = self._task.built.optimizer
        own = self._task.workload.optimizer_step
        if own is None:
            self._scaler.step(optimizer)
        else:
            if self._scaler.is_enabled():
                self._scaler.unscale_(optimizer)  # gradients are clipped at their own scale
                optimizer = _ScaledOptimizer(optimizer, self._scaler)
            with self._task.built.keep_rates():  # a scheduler would set others
                own(self._task.model, optimizer)
        self._scaler.update()

    def backward(self, batch: Any) -> torch.Tensor:
        """Leave the gradients of one batch, or the sum of those of a step so far.

        Returns:
            The loss, detached, on the device.

        Raises:
            WorkloadError: If the training step leaves none, since it steps its own optimizers.
        """
        loss = self._forward(batch)
        if self._task.loss.facts.steps_itself:
            raise WorkloadError(
                f"no gradient can be measured: {self._task.loss.facts.description}",
                hint="return the loss from it, without backward() and step()",
            )
        self._backward(loss)
        return loss.detach()

    def _forward(self, batch: Any) -> torch.Tensor:
        if self._device.type != "cpu":
            batch = move_to(batch, self._device)
        with autocast(self._device, self._precision):
            return self._task.loss(self._task.model, batch)

    def _backward(self, loss: torch.Tensor) -> None:
        if self._num_done % self._num_passes == 0:
            self._task.built.optimizer.zero_grad(set_to_none=True)
        part = loss / self._num_passes if self._num_passes > 1 else loss
        self._scaler.scale(part).backward()  # type: ignore[no-untyped-call]


def in_own_memory(loss: torch.Tensor) -> torch.Tensor:
    """A loss that can be kept through the next step without taking memory from it.

    Some of PyTorch's losses, such as ``mse_loss``, are the first number of a tensor that had one
    for each output, and keep the memory of all of it.
    """
    is_alone = loss.numel() != 1 or loss.untyped_storage().nbytes() == loss.nbytes
    return loss if is_alone else loss.clone()


def _switch_tf32_on() -> None:
    """By the names that the user's code has used: PyTorch refuses a mixture of old and new."""
    try:
        torch.get_float32_matmul_precision()
    except RuntimeError:  # it used those of PyTorch 2.9
        torch.backends.cuda.matmul.fp32_precision = "tf32"
        torch.backends.cudnn.conv.fp32_precision = "tf32"  # type: ignore[attr-defined]
        torch.backends.cudnn.rnn.fp32_precision = "tf32"  # type: ignore[attr-defined]
    else:
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True


class _ScaledOptimizer:
    """The optimizer as the user's own step sees it: its ``step`` is the scaler's."""

    def __init__(self, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
        self._optimizer, self._scaler = optimizer, scaler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._optimizer, name)

    def step(self) -> None:
        """Step, unless a gradient is not finite."""
        self._scaler.step(self._optimizer)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Make the autocast context for a precision.

    Args:
        device: Where the step runs.
        precision: Arithmetic of the step.
    """
    dtype = _AUTOCAST_DTYPES.get(precision)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype=dtype)

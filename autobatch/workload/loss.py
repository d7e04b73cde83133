"""From a model and a batch to a scalar loss, for every shape of batch and every kind of model."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from autobatch.errors import WorkloadError
from autobatch.workload.contract import Workload

_TARGET_KEYS = ("labels", "label", "targets", "target", "y")


class LossFunction:
    """Runs the forward pass and the loss of a workload.

    Attributes:
        description: What the loss is, in a user's words; complete after the first call.
        guess: What had to be assumed, one sentence; empty if nothing was.
    """

    def __init__(self, workload: Workload, model: nn.Module) -> None:
        self._loss = workload.loss
        self._training_step = workload.training_step
        self._max_positional = _count_positional(model)
        self.guess = ""
        self.description = "not known before the first step"
        if self._training_step is not None:
            self.description = "training_step(model, batch)"
        elif self._loss is not None:
            self.description = getattr(self._loss, "__name__", type(self._loss).__name__)

    def __call__(self, model: nn.Module, batch: Any) -> torch.Tensor:
        """Compute the loss of a batch that is already on the model's device.

        Returns:
            A scalar that can be differentiated.

        Raises:
            WorkloadError: If there is no such loss.
        """
        if self._training_step is not None:
            loss = self._training_step(model, batch)
            return _require_scalar(loss, "training_step(model, batch) returned")
        return _require_scalar(self._compute(model, batch), "the loss is")

    def evaluate(self, model: nn.Module, batch: Any) -> Any:
        """Compute the loss as an evaluation does, without gradients.

        Args:
            model: The model, on its device.
            batch: A batch on the same device.

        Returns:
            What the loss returns.
        """
        if self._training_step is not None:
            return self._training_step(model, batch)
        return self._compute(model, batch)

    def _compute(self, model: nn.Module, batch: Any) -> Any:
        arguments, keywords, target = self._split(model, batch)
        output = model(*arguments, **keywords)
        if self._loss is None:
            return self._find_loss(output, target)
        if target is None:
            return self._loss(output)
        return self._loss(output, target)

    def _split(self, model: nn.Module, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
        if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
            names = [field.name for field in dataclasses.fields(batch)]
            batch = {name: getattr(batch, name) for name in names}
        if isinstance(batch, Mapping):
            return self._split_mapping(model, dict(batch))
        if not isinstance(batch, (tuple, list)):
            return (batch,), {}, batch if self._loss is not None else None
        if len(batch) == 1:
            return (batch[0],), {}, None
        if self._loss is None and self._max_positional >= len(batch):
            return tuple(batch), {}, batch[-1]
        return tuple(batch[:-1]), {}, batch[-1]

    def _split_mapping(
        self, model: nn.Module, batch: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
        key = next((key for key in _TARGET_KEYS if key in batch), None)
        target = batch[key] if key else None
        if key and not _accepts(model, key):
            del batch[key]
        if len(batch) == 1 and not _accepts(model, *batch):
            return tuple(batch.values()), {}, target
        return (), batch, target

    def _find_loss(self, output: Any, target: Any) -> Any:
        loss = _loss_in(output)
        if loss is not None:
            self.description = "returned by the model"
            return loss
        if isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor):
            name, function = _guess_loss(output, target)
            dtype = str(target.dtype).removeprefix("torch.")
            self.description = name
            self.guess = f"{name} as the loss, since the targets are {dtype}"
            return function(output, target)
        raise WorkloadError(
            f"there is no loss: the model returned {_describe(output)} and the batch has "
            f"{'no target' if target is None else 'the target ' + _describe(target)}",
            hint="define loss(output, target), or training_step(model, batch)",
        )


def _guess_loss(
    output: torch.Tensor, target: torch.Tensor
) -> tuple[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]:
    if target.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8):
        return "cross-entropy", _cross_entropy
    if target.dtype == torch.bool:
        return "binary cross-entropy with logits", _binary_cross_entropy
    if output.shape != target.shape and output.numel() == target.numel():
        return "mean squared error", lambda a, b: functional.mse_loss(a, b.reshape(a.shape))
    return "mean squared error", functional.mse_loss


def _cross_entropy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if output.dim() == target.dim() + 1 and output.shape[:-1] == target.shape:
        # One prediction for each position of a sequence: classes come last.
        output, target = output.flatten(0, -2), target.flatten()
    return functional.cross_entropy(output, target.long())


def _binary_cross_entropy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    target = target.reshape(output.shape).to(output.dtype)
    return functional.binary_cross_entropy_with_logits(output, target)


def _loss_in(output: Any) -> Any:
    if isinstance(output, Mapping):
        return output.get("loss")
    if isinstance(output, torch.Tensor):
        return output if output.dim() == 0 else None
    if getattr(output, "loss", None) is not None:
        return output.loss
    if isinstance(output, (tuple, list)):
        scalars = [part for part in output if isinstance(part, torch.Tensor) and part.dim() == 0]
        return scalars[0] if len(scalars) == 1 else None
    return None


def _require_scalar(loss: Any, subject: str) -> torch.Tensor:
    if not isinstance(loss, torch.Tensor):
        raise WorkloadError(
            f"{subject} {_describe(loss)}, not a tensor", hint="return the loss as a tensor"
        )
    # A vector of one element could be the losses of a batch of one.
    if loss.dim() != 0:
        raise WorkloadError(
            f"{subject} a tensor of shape {tuple(loss.shape)}, not a scalar",
            hint="reduce it, such as with .mean()",
        )
    if not loss.requires_grad:
        raise WorkloadError(
            f"{subject} a tensor that needs no gradient",
            hint="look for torch.no_grad(), .detach() or .item() on its way, or frozen parameters",
        )
    return loss


def _describe(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return "None" if value is None else f"a {type(value).__name__}"


def _accepts(model: nn.Module, name: str) -> bool:
    parameters = _forward_parameters(model)
    return name in parameters or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def _count_positional(model: nn.Module) -> int:
    """Arguments that the model takes one by one: ``*args`` says nothing of how many it uses."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = _forward_parameters(model).values()
    return sum(parameter.kind in kinds for parameter in parameters)


def _forward_parameters(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    inner = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    try:
        return inspect.signature(inner.forward).parameters
    except ValueError:  # a traced model does not say
        return {}

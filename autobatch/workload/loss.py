"""From a model and a batch to a scalar loss, for every shape of batch and every kind of model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from autobatch.errors import WorkloadError
from autobatch.workload.contract import Workload
from autobatch.workload.loss_values import find_loss, guess_loss, require_scalar
from autobatch.workload.own_steps import OwnOptimizer, OwnSteps, detached_value, has_gradients
from autobatch.workload.signatures import (
    accepts_keyword,
    count_forward_positional,
    count_positional,
)
from autobatch.workload.user_code import describe, noting_call

_TARGET_KEYS = ("labels", "label", "targets", "target", "y")
_STEP = "training_step(model, batch)"
_REGRESSIONS = frozenset(
    {
        "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss", "BCEWithLogitsLoss",
        "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
        "binary_cross_entropy_with_logits",
    }
)  # fmt: skip


class NoLossError(WorkloadError):
    """The model ran, and neither it nor the workload has a loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossFacts:
    """What the calls so far told of a loss.

    Attributes:
        description: What the loss is, in a user's words; complete after the first call.
        guesses: What had to be assumed, one sentence each.
        own_optimizers: Those that a training step steps itself.
    """

    description: str
    guesses: tuple[str, ...] = ()
    own_optimizers: tuple[OwnOptimizer, ...] = ()

    @property
    def steps_itself(self) -> bool:
        """Whether the training step does backward passes and optimizer steps itself."""
        return bool(self.own_optimizers)


class LossFunction:
    """Runs the forward pass and the loss of a workload.

    Attributes:
        facts: What the calls so far told of the loss.
        own_steps: Watches the training step for optimizers that it steps itself.
    """

    def __init__(self, workload: Workload, model: nn.Module) -> None:
        self._loss = workload.loss
        self._training_step = workload.training_step
        self._max_positional = count_forward_positional(model)
        self._takes = count_positional(self._loss)
        self.own_steps = OwnSteps()
        self._has_stepped = False
        description = "not known before the first step"
        if self._training_step is not None:
            description = _STEP
        elif self._loss is not None:
            description = _name_of(self._loss)
        self.facts = LossFacts(description=description)

    def __call__(self, model: nn.Module, batch: Any) -> torch.Tensor:
        """Compute the loss of a batch that is already on the model's device.

        Returns:
            A scalar that can be differentiated; where the training step has done all by itself,
            a scalar without a gradient.

        Raises:
            WorkloadError: If there is no such loss.
        """
        if self._training_step is not None:
            return self._run_step(model, batch)
        return self._require_loss(self._compute(model, batch), "the loss is")

    def evaluate(self, model: nn.Module, batch: Any) -> Any:
        """Compute the loss as an evaluation does, without gradients.

        Args:
            model: The model, on its device.
            batch: A batch on the same device.

        Returns:
            What the loss returns.

        Raises:
            NoLossError: If the model has run and there is no loss, as detection models have none
                in evaluation.
        """
        if self._training_step is not None:
            return self._training_step(model, batch)
        value = self._compute(model, batch)
        return value if isinstance(value, torch.Tensor) else find_loss(value)[0]

    def _run_step(self, model: nn.Module, batch: Any) -> torch.Tensor:
        assert self._training_step is not None
        looks = not self._has_stepped  # at the first call alone: large models have many parameters
        had_gradients = looks and has_gradients(model)
        with self.own_steps:
            value = self._training_step(model, batch)
        own = self.own_steps.optimizers
        if own:
            number = len(own)
            what = "an optimizer" if number == 1 else f"{number} optimizers"
            self.facts = replace(
                self.facts, own_optimizers=own, description=f"{_STEP} with {what} of its own"
            )
            return detached_value(value)
        self._has_stepped = True
        if looks and not had_gradients and has_gradients(model):
            raise WorkloadError(
                f"{_STEP} called backward(), and no optimizer's step()",
                hint="return the loss without backward(), or step your optimizers in it as well",
            )
        return self._require_loss(value, f"{_STEP} returned")

    def _require_loss(self, value: Any, subject: str) -> torch.Tensor:
        if not isinstance(value, torch.Tensor):
            found, guess = find_loss(value)
            if found is not None:
                self._note(guess)
                value = found
        return require_scalar(value, subject)

    def _note(self, guess: str) -> None:
        if guess and guess not in self.facts.guesses:
            self.facts = replace(self.facts, guesses=(*self.facts.guesses, guess))

    def _compute(self, model: nn.Module, batch: Any) -> Any:
        arguments, keywords, target = self._split(model, batch)
        with noting_call("model", *arguments, *keywords.values()):
            output = model(*arguments, **keywords)
        if self._loss is None:
            return self._find_loss(output, target)
        inputs = next(iter((*arguments, *keywords.values())), None)
        given = self._arguments_of_loss(output, target, inputs)
        with noting_call("loss", *given):
            return self._loss(*given)

    def _arguments_of_loss(self, output: Any, target: Any, inputs: Any) -> tuple[Any, ...]:
        """What the loss is called with: output and target, or as its signature asks."""
        if self._takes.most < 2:
            return (output,)
        if target is None or self._reconstructs(output, target, inputs):
            if not isinstance(inputs, torch.Tensor):
                return (output,) if target is None else (output, target)
            self._note("the input as the target of the loss")
            target = _in_shape_of(output, inputs)
        if isinstance(output, tuple) and self._takes.least == len(output) + 1 > 2:
            self._note(
                "the loss is called with the first output, the target, and the other outputs"
            )
            return (output[0], target, *output[1:])
        return output, target

    def _reconstructs(self, output: Any, target: Any, inputs: Any) -> bool:
        """Whether labels are beside the point: the output is compared with the input."""
        first = output[0] if isinstance(output, tuple) and output else output
        if not all(isinstance(each, torch.Tensor) for each in (first, target, inputs)):
            return False
        is_regression = _name_of(self._loss) in _REGRESSIONS or self._takes.least > 2
        are_labels = not target.is_floating_point() and target.numel() < first.numel()
        return is_regression and are_labels and bool(first.numel() == inputs.numel())

    def _split(self, model: nn.Module, batch: Any) -> tuple[tuple[Any, ...], dict[str, Any], Any]:
        if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
            names = [field.name for field in dataclasses.fields(batch)]
            batch = {name: getattr(batch, name) for name in names}
        if isinstance(batch, Mapping):
            return self._split_mapping(model, dict(batch))
        if not isinstance(batch, (tuple, list)):
            return (batch,), {}, None
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
        if key and not accepts_keyword(model, key):
            del batch[key]
        if len(batch) == 1 and not accepts_keyword(model, *batch):
            return tuple(batch.values()), {}, target
        return (), batch, target

    def _find_loss(self, output: Any, target: Any) -> Any:
        loss, guess = find_loss(output)
        if loss is not None:
            self.facts = replace(self.facts, description="returned by the model")
            self._note(guess)
            return loss
        if isinstance(output, torch.Tensor) and isinstance(target, torch.Tensor):
            name, function = guess_loss(output, target)
            dtype = str(target.dtype).removeprefix("torch.")
            self.facts = replace(self.facts, description=name)
            self._note(f"{name} as the loss, since the targets are {dtype}")
            with noting_call(f"the {name}", output, target):
                return function(output, target)
        has = "no target" if target is None else f"{describe(target)} as its target"
        raise NoLossError(
            f"there is no loss: the model returned {describe(output)}, and the batch has {has}",
            hint="define loss(output, target), or training_step(model, batch)",
        )


def _name_of(loss: Any) -> str:
    return str(getattr(loss, "__name__", type(loss).__name__))


def _in_shape_of(output: Any, inputs: torch.Tensor) -> torch.Tensor:
    first = output[0] if isinstance(output, tuple) and output else output
    if not isinstance(first, torch.Tensor) or first.numel() != inputs.numel():
        return inputs
    return inputs.reshape(first.shape)

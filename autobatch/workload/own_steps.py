"""A training step that steps its own optimizers, such as that of a GAN.

It is noticed where it happens: a hook on every optimizer sees which of them steps while the
user's function runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from autobatch.errors import WorkloadError

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle
    from typing_extensions import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOptimizer:
    """An optimizer that a training step steps itself.

    Attributes:
        name: Its class.
        learning_rate: Its rate; ``None`` if it has several or none.
    """

    name: str
    learning_rate: float | None


class OwnSteps:
    """Watches a training step for optimizers that it steps; a context manager around each call.

    Their learning rates are set to zero, as that of any optimizer in a trial is.

    Attributes:
        optimizers: Those that it stepped, in the order of their first step.
        can_put_back: Whether what they change does not matter, or can be undone.
    """

    def __init__(self) -> None:
        self.can_put_back = True
        self._seen: dict[int, OwnOptimizer] = {}
        self._handle: RemovableHandle | None = None

    @property
    def optimizers(self) -> tuple[OwnOptimizer, ...]:
        """Those that it stepped, in the order of their first step."""
        return tuple(self._seen.values())

    def __enter__(self) -> Self:
        self._handle = register_optimizer_step_pre_hook(self._before_step)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._handle is not None
        self._handle.remove()

    def _before_step(self, optimizer: Any, args: Any, keywords: Any) -> None:
        if not self.can_put_back:
            raise WorkloadError(
                f"training_step(model, batch) steps its own {type(optimizer).__name__}, and what "
                "that changes cannot be put back in this process",
                hint="probe a file with it: autobatch probe model.py",
            )
        groups = optimizer.param_groups
        if id(optimizer) not in self._seen:
            rates = {float(group["lr"]) for group in groups if group.get("lr") is not None}
            self._seen[id(optimizer)] = OwnOptimizer(
                name=type(optimizer).__name__,
                learning_rate=rates.pop() if len(rates) == 1 else None,
            )
        for group in groups:  # each time: the step may have a schedule, too
            rate = group.get("lr")
            if isinstance(rate, torch.Tensor):
                group["lr"] = torch.zeros_like(rate)
            elif rate:
                group["lr"] = 0.0


def has_gradients(model: nn.Module) -> bool:
    """Whether any parameter has a gradient."""
    return any(parameter.grad is not None for parameter in model.parameters())


def detached_value(value: Any) -> torch.Tensor:
    """The number in what a training step that steps itself returned; zero if there is none."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        value = next((part for part in value if isinstance(part, (float, torch.Tensor))), None)
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        return value.detach().reshape(())
    return torch.tensor(value if isinstance(value, float) else 0.0)

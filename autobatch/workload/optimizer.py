"""The user's optimizer, or AdamW."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autobatch.errors import WorkloadError
from autobatch.workload.contract import Workload
from autobatch.workload.user_code import calling_user_code


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltOptimizer:
    """An optimizer over a model's parameters.

    Attributes:
        optimizer: The optimizer. Its learning rates are zero: a step costs what it costs and
            leaves the weights as they were, so that trials neither diverge nor need a copy.
        was_given: Whether the user chose it.
        learning_rate: Its learning rate before that; ``None`` if it has several.
        learning_rates: Of each parameter group, ``None`` for one that has none.
        rate_is_default: Whether the rate is the default of the class, and the user named none.
    """

    optimizer: torch.optim.Optimizer
    was_given: bool
    learning_rate: float | None
    learning_rates: tuple[float | None, ...] = ()
    rate_is_default: bool = False

    def set_rates(self, multiplier: float, learning_rate: float | None = None) -> None:
        """Set the learning rate of every parameter group.

        Args:
            multiplier: Factor of each rate.
            learning_rate: The rate before that factor; each group's own if ``None``.
        """
        for group, own in zip(self.optimizer.param_groups, self.learning_rates, strict=True):
            if own is not None:
                rate = multiplier * (own if learning_rate is None else learning_rate)
                is_tensor = torch.is_tensor(group["lr"])
                group["lr"] = torch.full_like(group["lr"], rate) if is_tensor else rate

    @contextmanager
    def keep_rates(self) -> Iterator[None]:
        """Put the learning rates back that are set inside, as by a scheduler."""
        groups = self.optimizer.param_groups
        rates = [group.get("lr") for group in groups]
        rates = [rate.clone() if torch.is_tensor(rate) else rate for rate in rates]
        yield
        for group, rate in zip(groups, rates, strict=False):
            if "lr" in group:
                group["lr"] = rate


def build_optimizer(workload: Workload, model: nn.Module) -> BuiltOptimizer:
    """Make the optimizer that a workload asks for.

    Args:
        workload: Has the optimizer or what makes one; AdamW if neither.
        model: The model whose parameters it updates.

    Raises:
        WorkloadError: If it cannot be made, or belongs to another model.
    """
    given: Any = workload.optimizer
    if given is None:
        optimizer: Any = _call(torch.optim.AdamW, model, workload.lr)
    elif isinstance(given, torch.optim.Optimizer):
        optimizer = given
        _require_same_parameters(given, model)
    elif isinstance(given, type):
        optimizer = _call(given, model, workload.lr)
    else:
        optimizer = _call(given, model, None)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise WorkloadError(
            f"'optimizer' made a {type(optimizer).__name__}, not a torch.optim.Optimizer",
            hint="make it a function of the parameters, or an optimizer class",
        )
    # Some optimizers have no rate, or None where they schedule it themselves.
    groups = [group for group in optimizer.param_groups if group.get("lr") is not None]
    rates = {float(group["lr"]) for group in groups}
    by_group = [group.get("lr") for group in optimizer.param_groups]
    by_group = [None if rate is None else float(rate) for rate in by_group]
    for group in groups:
        group["lr"] = torch.zeros_like(group["lr"]) if torch.is_tensor(group["lr"]) else 0.0
    rate = rates.pop() if len(rates) == 1 else None
    return BuiltOptimizer(
        optimizer=optimizer,
        was_given=given is not None,
        learning_rate=rate,
        learning_rates=tuple(by_group),
        rate_is_default=_is_default(rate, optimizer) and not _names_rate(given, rate),
    )


def move_state(optimizer: torch.optim.Optimizer) -> None:
    """Move the state of an optimizer that was made before its parameters were moved to them."""
    is_behind = any(
        isinstance(value, torch.Tensor) and value.dim() > 0 and value.device != parameter.device
        for parameter, state in optimizer.state.items()
        for value in state.values()
    )
    if is_behind:
        optimizer.load_state_dict(optimizer.state_dict())


def _call(make: Any, model: nn.Module, learning_rate: float | None) -> Any:
    if not callable(make):
        raise WorkloadError(
            f"'optimizer' is a {type(make).__name__}",
            hint="make it a function of the parameters, or an optimizer class",
        )
    keywords = {} if learning_rate is None else {"lr": learning_rate}
    with calling_user_code(
        "making the optimizer failed", "it is called with the model's parameters"
    ):
        return make(model.parameters(), **keywords)


def _is_default(rate: float | None, optimizer: torch.optim.Optimizer) -> bool:
    parameter = inspect.signature(type(optimizer)).parameters.get("lr")
    return parameter is not None and rate is not None and bool(parameter.default == rate)


def _names_rate(given: Any, rate: float | None) -> bool:
    """Whether what makes an optimizer says the rate, which may be the default all the same."""
    if isinstance(given, torch.optim.Optimizer):  # it is what is trained with now
        return True
    if isinstance(given, functools.partial):
        return "lr" in given.keywords
    # Names of keywords are a tuple among the constants of a function's code.
    constants = getattr(getattr(given, "__code__", None), "co_consts", ())
    return any(each == rate or (isinstance(each, tuple) and "lr" in each) for each in constants)


def _require_same_parameters(optimizer: torch.optim.Optimizer, model: nn.Module) -> None:
    own = {id(parameter) for parameter in model.parameters()}
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if not held <= own:
        raise WorkloadError(
            "'optimizer' holds parameters that are not the model's",
            hint="make it a function of the parameters: optimizer = lambda p: SGD(p, lr=0.1)",
        )

"""How many arguments the user's models and losses take."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from torch import nn
from torch.nn.parallel import DistributedDataParallel

_MANY = 1_000
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Positional(NamedTuple):
    """How many positional arguments a function takes.

    Attributes:
        least: Those without a default.
        most: All of them; very many for one that takes ``*args``.
    """

    least: int
    most: int


def count_positional(function: Callable[..., Any] | None) -> Positional:
    """How many positional arguments a function or the ``forward`` of a module takes.

    Args:
        function: What is called; a loss takes two where it does not say.
    """
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(called).parameters.values()  # type: ignore[arg-type]
    except (TypeError, ValueError):  # written in C, or traced
        return Positional(2, 2)
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    takes_any = any(each.kind is each.VAR_POSITIONAL for each in parameters)
    return Positional(
        least=sum(each.default is each.empty for each in positional),
        most=_MANY if takes_any else len(positional),
    )


def count_forward_positional(model: nn.Module) -> int:
    """Arguments that a model takes one by one: ``*args`` says nothing of how many it uses."""
    return sum(each.kind in _POSITIONAL for each in _forward_parameters(model).values())


def accepts_keyword(model: nn.Module, name: str) -> bool:
    """Whether a model's ``forward`` takes an argument of that name."""
    parameters = _forward_parameters(model)
    return name in parameters or any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )


def _forward_parameters(model: nn.Module) -> Mapping[str, inspect.Parameter]:
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    inner = getattr(inner, "_orig_mod", inner)  # what torch.compile wraps
    try:
        return inspect.signature(inner.forward).parameters
    except ValueError:  # a traced model does not say
        return {}

"""The repeated blocks of a model, and checkpointing on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

from autobatch.tuning.levers import SWITCHES

_Child: TypeAlias = "tuple[nn.Module, str, str]"


def find_switch(model: nn.Module) -> str:
    """The model's own method that switches checkpointing on; empty if there is none."""
    if getattr(model, "supports_gradient_checkpointing", True):
        return next((name for name in SWITCHES if callable(getattr(model, name, None))), "")
    return ""


def find_block_names(model: nn.Module) -> tuple[str, ...]:
    """Names of the blocks that a model repeats."""
    return tuple(name for _, _, name in _find_blocks(model))


def wrap_blocks(model: nn.Module, *, every: int) -> Callable[[], None]:
    """Checkpoint the repeated blocks, in place.

    Args:
        model: The module.
        every: Of these one, the first among them.

    Returns:
        What takes it off again.
    """
    wrapped = [
        (parent, key, parent._modules[key]) for parent, key, _ in _find_blocks(model)[::every]
    ]
    for parent, key, block in wrapped:
        assert block is not None
        parent._modules[key] = checkpoint_wrapper(block)

    def take_off() -> None:
        for parent, key, block in wrapped:
            parent._modules[key] = block

    return take_off


def _find_blocks(model: nn.Module) -> list[_Child]:
    """Siblings of one class that have parts themselves: those with the most parameters."""
    best: list[_Child] = []
    most = 0
    for path, parent in model.named_modules():
        groups: dict[type, list[_Child]] = {}
        for key, child in parent.named_children():
            if next(child.children(), None) is not None:
                name = f"{path}.{key}" if path else key
                groups.setdefault(type(child), []).append((parent, key, name))
        for siblings in groups.values():
            count = sum(each.numel() for _, key, _ in siblings for each in _parameters(parent, key))
            if len(siblings) > 1 and count > most:
                best, most = siblings, count
    return best


def _parameters(parent: nn.Module, key: str) -> list[nn.Parameter]:
    child = parent._modules[key]
    return [] if child is None else list(child.parameters())

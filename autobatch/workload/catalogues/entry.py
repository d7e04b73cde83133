"""A model of a catalogue, ready to be trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

from autobatch.errors import WorkloadError, message_of
from autobatch.workload.files import Target

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A model of a catalogue, ready to be trained.

    Attributes:
        model: With random weights.
        make_batch: A random batch of a given size.
        data: What is in it, in a user's words.
        loss: A function of output and target; ``None`` for a model that returns its loss.
        guesses: What was not asked for and had to be decided, one sentence each.
    """

    model: nn.Module
    make_batch: Callable[[int], Any]
    data: str
    loss: Callable[[Any, torch.Tensor], torch.Tensor] | None = None
    guesses: tuple[str, ...] = ()


def making_failed(target: Target, overrides: dict[str, str], error: Exception) -> WorkloadError:
    """The error for a model that its library could not make."""
    given = ", ".join(f"{key}={value}" for key, value in overrides.items())
    return WorkloadError(
        f"target {target.text!r}: making the model{' with ' if given else ''}{given} failed: "
        f"{type(error).__name__}: {' '.join(message_of(error).split())}",
        hint="change or leave out one of the values that were set"
        if given
        else f"add what it asks for, such as {target.text},key=value",
    )

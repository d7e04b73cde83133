"""From a catalogue's target to a model that is ready to be trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from autobatch.errors import AutobatchError, WorkloadError, message_of
from autobatch.records import Settings
from autobatch.workload.catalogues.require import LIBRARIES
from autobatch.workload.contract import Workload
from autobatch.workload.files import Target
from autobatch.workload.repeated import RepeatedSource


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


def load_entry(
    target: Target, settings: Settings, *, needs_room: bool = True
) -> tuple[Workload, RepeatedSource, list[str]]:
    """Make the model that a target names, and batches for it.

    Args:
        target: Names the catalogue, the model and its values.
        settings: For the seed.
        needs_room: Whether a model larger than this machine's memory is refused.

    Returns:
        The workload, where its batches come from, and a sentence for each guess.

    Raises:
        WorkloadError: If the catalogue has no such model, or it cannot be made.
        SettingsError: If a value does not go with it.
    """
    from autobatch.workload.catalogues.hugging_face import load_hugging_face
    from autobatch.workload.catalogues.images import load_timm, load_torchvision

    load_with_room = partial(load_hugging_face, needs_room=needs_room)
    loaders: dict[str, Callable[[Target, Settings], Entry]] = {
        "hf": load_with_room,
        "timm": load_timm,
        "torchvision": load_torchvision,
    }
    try:
        entry = loaders[target.catalogue](target, settings)
    except AutobatchError:
        raise
    except (ImportError, RuntimeError) as error:
        library = LIBRARIES[target.catalogue]
        raise WorkloadError(
            f"target {target.text!r}: {library} cannot be used: {type(error).__name__}: "
            f"{message_of(error)}",
            hint=f"try python -c 'import {library}'; torchvision must be the build for your "
            "PyTorch",
        ) from error
    source = RepeatedSource(entry.make_batch, entry.data)
    workload = Workload(model=entry.model, batch=entry.make_batch, loss=entry.loss)
    return workload, source, list(entry.guesses)


def making_failed(target: Target, values: Mapping[str, Any], error: Exception) -> WorkloadError:
    """Make the error for a model that its library could not make.

    Args:
        target: What the user named.
        values: What the model was made with.
        error: What the library raised.
    """
    given = ", ".join(f"{key}={value}" for key, value in values.items())
    return WorkloadError(
        f"target {target.text!r}: making the model{' with ' if given else ''}{given} failed: "
        f"{type(error).__name__}: {' '.join(message_of(error).split())}",
        hint="change or leave out one of the values that were set"
        if given
        else f"add what it asks for, such as {target.text},key=value",
    )

"""Batches for a target that has only a model, from a description on the command line."""

from __future__ import annotations

from typing import Any

import torch

from autobatch.records import Settings
from autobatch.workload.batches import RepeatedSource


def make_synthetic_source(settings: Settings) -> RepeatedSource:
    """A source of random inputs of ``settings.input_shape``.

    Inputs are standard normal floats, or token ids below ``vocabulary_size``. Targets are class
    ids below ``num_classes``; without classes the tokens themselves, or nothing.
    """
    assert settings.input_shape is not None
    shape = "x".join(str(size) for size in settings.input_shape)
    kind = f"tokens below {settings.vocabulary_size}" if settings.vocabulary_size else "inputs"
    classes = f", {settings.num_classes} classes" if settings.num_classes else ""
    return RepeatedSource(
        lambda batch_size: _make_batch(settings, batch_size), f"random {kind} {shape}{classes}"
    )


def _make_batch(settings: Settings, batch_size: int) -> Any:
    assert settings.input_shape is not None
    generator = torch.Generator().manual_seed(settings.seed)
    shape = (batch_size, *settings.input_shape)
    if settings.vocabulary_size:
        inputs = torch.randint(settings.vocabulary_size, shape, generator=generator)
    else:
        inputs = torch.randn(shape, generator=generator)
    if settings.num_classes:
        return inputs, torch.randint(settings.num_classes, (batch_size,), generator=generator)
    return (inputs, inputs) if settings.vocabulary_size else inputs

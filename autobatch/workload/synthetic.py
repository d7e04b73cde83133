"""Random batches for a model without data, from a description of one sample."""

from __future__ import annotations

from typing import Any

import torch

from autobatch.workload.shape import InputShape


class RandomBatches:
    """Makes random batches: a function of the batch size that can describe itself.

    Inputs are standard normal floats, or token ids below the vocabulary. Targets are class ids;
    without classes the tokens themselves, or nothing.

    Args:
        shape: What one sample is; its ``input`` is given.
        seed: Of the random generator.
    """

    def __init__(self, shape: InputShape, seed: int) -> None:
        assert shape.input is not None
        self._size = shape.input
        self._shape = shape
        self._seed = seed
        kind = f"tokens below {shape.vocabulary}" if shape.vocabulary else "inputs"
        classes = f", {shape.classes} classes" if shape.classes else ""
        self.description = f"random {kind} {'x'.join(map(str, self._size))}{classes}"

    def __call__(self, batch_size: int) -> Any:
        """A batch, always the same one."""
        generator = torch.Generator().manual_seed(self._seed)
        size = (batch_size, *self._size)
        vocabulary, classes = self._shape.vocabulary, self._shape.classes
        if vocabulary:
            inputs = torch.randint(vocabulary, size, generator=generator)
        else:
            inputs = torch.randn(size, generator=generator)
        if classes:
            return inputs, torch.randint(classes, (batch_size,), generator=generator)
        return (inputs, inputs) if vocabulary else inputs

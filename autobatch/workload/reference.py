"""A small fixed training step to hold a machine against: ``autobatch check --reference builtin``.

It has a bit of all that training is made of: convolutions and a matrix product, which are bound
by arithmetic; normalisation, activations and the optimizer, which are bound by memory; and a
handful of calls, which are bound by overhead. It must stay as it is: baselines hold ratios to it.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

model = nn.Sequential(
    nn.Conv2d(3, 24, kernel_size=3, padding=1),
    nn.BatchNorm2d(24),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(24, 32, kernel_size=3, padding=1),
    nn.BatchNorm2d(32),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(32 * 8 * 8, 256),
    nn.GELU(),
    nn.Linear(256, 10),
)
loss = nn.CrossEntropyLoss()
_batches: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}


def batch(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of noise and their classes; the same ones at every call."""
    if batch_size not in _batches:
        generator = torch.Generator().manual_seed(0)
        images = torch.randn(batch_size, 3, 16, 16, generator=generator)
        labels = torch.randint(10, (batch_size,), generator=generator)
        _batches[batch_size] = images, labels
    return _batches[batch_size]


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """AdamW, whose state makes up a good part of the memory that a step touches."""
    return torch.optim.AdamW(parameters, lr=0.0)

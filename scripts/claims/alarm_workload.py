"""Small trainings whose work can be raised by a share: see alarms.py.

Environment variables: ``KIND`` is ``conv``, ``mlp`` or ``tiny``, ``PASSES`` how many forward and
backward passes make a step, ``KEEP_MIB`` how much memory a step takes beyond that.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

KIND = os.environ.get("KIND", "conv")
NUM_PASSES = int(os.environ.get("PASSES", "10"))
NUM_KEPT = int(float(os.environ.get("KEEP_MIB", "0")) * 2**18)


def make_conv() -> nn.Module:
    """Two convolutions and a classifier."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


def make_mlp() -> nn.Module:
    """Three matrix products."""
    return nn.Sequential(
        nn.Linear(256, 512), nn.ReLU(), nn.LayerNorm(512), nn.Linear(512, 512), nn.GELU(),
        nn.Linear(512, 16),
    )  # fmt: skip


def make_tiny() -> nn.Module:
    """A regression on ten numbers."""
    return nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 16))


def batch(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and random classes."""
    return torch.randn(batch_size, *SHAPES[KIND]), torch.randint(10, (batch_size,))


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Plain SGD."""
    return torch.optim.SGD(parameters, lr=0.01)


def training_step(model: nn.Module, batch: Any) -> torch.Tensor:
    """Several passes, and memory that is held meanwhile."""
    inputs, labels = batch
    kept = torch.ones(NUM_KEPT)
    total = kept[:0].sum()
    for _ in range(NUM_PASSES):
        total = total + nn.functional.cross_entropy(model(inputs), labels)
    return total


SHAPES = {"conv": (1, 16, 16), "mlp": (256,), "tiny": (10,)}
model = {"conv": make_conv, "mlp": make_mlp, "tiny": make_tiny}[KIND]()
batch_size = 16 if KIND == "conv" else 32

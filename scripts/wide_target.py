"""A target whose samples take much memory, so that few of them fill any machine.

Each takes a row of 2**16 floats, four times over: 1 MiB.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

_WIDTH = 2**16
model = torch.nn.Sequential(
    torch.nn.Linear(8, _WIDTH), torch.nn.ReLU(), torch.nn.Tanh(), torch.nn.Linear(_WIDTH, 1)
)
loss = torch.nn.MSELoss()


def batch(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise."""
    return torch.randn(batch_size, 8), torch.randn(batch_size, 1)


def optimizer(parameters: Iterable[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Plain SGD."""
    return torch.optim.SGD(parameters, lr=0.01)

"""Trainings of which gradients are a large part, for accumulating.py.

Their large tensors take more than 32 MiB, so that glibc maps each one anew (``man 3 mallopt``,
``M_MMAP_THRESHOLD``): from its heap, peaks of one loop differ by 10 % from run to run.

Each function is a target: ``scripts/claims/accumulating_workloads.py:tokens``. As a program this is
the plain loop, which imports nothing that a training would not:

    python -m scripts.claims.accumulating_workloads WORKLOAD BATCH_SIZE NUM_PASSES
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import nn

from autobatch import Workload

_VOCABULARY = 40_000
_LENGTH = 64
_NUM_STEPS = 4


class Tokens(nn.Module):
    """An embedding, a small body and an output layer as wide as the vocabulary."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(512, 256)
        self.body = nn.Sequential(nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 256))
        self.output = nn.Linear(256, _VOCABULARY, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of shape (samples, tokens, vocabulary)."""
        logits: torch.Tensor = self.output(self.body(self.embedding(tokens)))
        return logits


def tokens() -> Workload:
    """The wide output layer: its gradient is made anew in each pass, beside the sum."""

    def batch(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            torch.randint(512, (batch_size, _LENGTH)),
            torch.randint(_VOCABULARY, (batch_size, _LENGTH)),
        )

    return Workload(model=Tokens, batch=batch, loss=_cross_entropy, optimizer=torch.optim.AdamW)


def layers() -> Workload:
    """Wide layers on few samples: nearly all memory is of weights."""

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Linear(3072, 3072), nn.ReLU(), nn.Linear(3072, 3072), nn.ReLU(), nn.Linear(3072, 10)
        )  # fmt: skip

    def batch(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(batch_size, 3072), torch.randint(10, (batch_size,))

    return Workload(model=make, batch=batch, loss=_cross_entropy, optimizer=torch.optim.AdamW)


def images() -> Workload:
    """A convolutional network and a wide classifier: activations and weights alike."""

    def make() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
            nn.AdaptiveAvgPool2d(16), nn.Flatten(), nn.Linear(32 * 256, 2048), nn.ReLU(),
            nn.Linear(2048, 100),
        )  # fmt: skip

    def batch(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn(batch_size, 3, 64, 64), torch.randint(100, (batch_size,))

    return Workload(model=make, batch=batch, loss=_cross_entropy, optimizer=torch.optim.SGD, lr=0.1)


def _cross_entropy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(output.flatten(0, -2), target.flatten())


_WORKLOADS: dict[str, Any] = {"tokens": tokens, "layers": layers, "images": images}


def train(name: str, batch_size: int, num_passes: int) -> None:
    """Train a workload as PyTorch's documentation accumulates gradients."""
    torch.manual_seed(0)
    workload = _WORKLOADS[name]()
    model = workload.model()
    optimizer = workload.optimizer(model.parameters(), lr=workload.lr or 1e-3)
    for number in range(_NUM_STEPS * num_passes):
        inputs, targets = workload.batch(batch_size)
        loss = workload.loss(model(inputs), targets)
        if number % num_passes == 0:
            optimizer.zero_grad()
        (loss / num_passes).backward()
        if (number + 1) % num_passes == 0:
            optimizer.step()


if __name__ == "__main__":
    train(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

"""A residual network with frozen weights and small adapters, for breakdown.py."""

from __future__ import annotations

import torch
from torch import nn

_WIDTH = 64


class Adapted(nn.Module):
    """A frozen convolution beside a trained one of rank 4."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1).requires_grad_(False)
        self.down = nn.Conv2d(_WIDTH, 4, 1, bias=False)
        self.up = nn.Conv2d(4, _WIDTH, 1, bias=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Both, added."""
        output: torch.Tensor = self.frozen(images) + self.up(self.down(images))
        return output


class Block(nn.Module):
    """Two convolutions and a way around them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = Adapted(), Adapted()
        self.norm = nn.BatchNorm2d(_WIDTH)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """The block."""
        return torch.relu(images + self.norm(self.second(torch.relu(self.first(images)))))


model = nn.Sequential(
    nn.Conv2d(3, _WIDTH, 3, padding=1),
    nn.Sequential(*(Block() for _ in range(6))),
    nn.AdaptiveAvgPool2d(1),
    nn.Flatten(),
    nn.Linear(_WIDTH, 10),
)
loss = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW


def batch(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise and random classes."""
    return torch.randn(batch_size, 3, 48, 48), torch.randint(10, (batch_size,))

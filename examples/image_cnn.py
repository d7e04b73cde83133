"""A heavier convolutional network on synthetic 3 x 32 x 32 images, made by a function.

    autobatch probe examples/image_cnn.py
    autobatch probe examples/image_cnn.py \
        --env MALLOC_MMAP_THRESHOLD_=4294967296 --env MALLOC_TRIM_THRESHOLD_=4294967296

What to look for, on Linux and a CPU:

- Throughput rises, then falls. The activations of a batch of a few hundred images are so large
  that glibc hands their memory back to the kernel after each step and faults it in again at the
  next, page by page: the finding carries the warning PAGE_FAULTS.
- The second command tells glibc to keep its memory. If throughput no longer falls, train with
  these two variables set.

Run by itself, the file trains for thirty steps in plain PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


def make_block(num_inputs: int, num_outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(num_inputs, num_outputs, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(num_outputs),
        nn.ReLU(),
    )


class ImageNet(nn.Module):
    """Five convolutions, from 32 x 32 down to 8 x 8, and a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            make_block(3, 32, stride=1),
            make_block(32, 32, stride=1),
            make_block(32, 64, stride=2),
            make_block(64, 64, stride=1),
            make_block(64, 128, stride=2),
        )
        self.classifier = nn.Linear(128, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores of a batch of images."""
        return self.classifier(self.blocks(images).mean(dim=(2, 3)))


def batch(batch_size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise around one pattern per class: cheap beside a step, and it can be learned."""
    labels = torch.randint(10, (batch_size,))
    return patterns[labels] + torch.randn(batch_size, 3, 32, 32), labels


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


patterns = 0.5 * torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(0))
model = ImageNet()
loss = nn.CrossEntropyLoss()
batch_size = 64
lr = 0.05
dataset_size = 50_000


if __name__ == "__main__":
    torch.manual_seed(0)
    sgd = optimizer(model.parameters())
    for step in range(30):
        images, labels = batch(batch_size)
        value = loss(model(images), labels)
        value.backward()
        sgd.step()
        sgd.zero_grad()
        if step % 5 == 4:
            print(f"step {step + 1}: loss {value.item():.4f}")

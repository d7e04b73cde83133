"""A small convolutional network on 1,797 handwritten digits.

    autobatch probe examples/digits_cnn.py
    autobatch probe examples/digits_cnn.py --memory-limit 640MiB --goal memory

What to look for:

- The dataset itself is the largest candidate: 1,797 samples in one step, full-batch training.
- Each sample adds roughly 0.2 MiB, so with a memory limit the search ends early and says why.
- SGD with a learning rate of 0.05 at batch size 32: the recommendation scales it linearly.

Run by itself, the file trains for two epochs in plain PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def make_block(num_inputs: int, num_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(num_inputs, num_outputs, kernel_size=3, padding=1, bias=False),
        nn.BatchNorm2d(num_outputs),
        nn.ReLU(),
    )


class DigitsNet(nn.Module):
    """Three convolutions at the full 8 x 8 resolution, then a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(make_block(1, 32), make_block(32, 64), make_block(64, 64))
        self.classifier = nn.Linear(64, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores of a batch of 1 x 8 x 8 images."""
        return self.classifier(self.blocks(images).mean(dim=(2, 3)))


def load_dataset() -> TensorDataset:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    return TensorDataset(images, torch.tensor(digits.target))


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9)


model = DigitsNet()
dataset = load_dataset()
loss = nn.CrossEntropyLoss()
batch_size = 32
lr = 0.05


if __name__ == "__main__":
    torch.manual_seed(0)
    sgd = optimizer(model.parameters())
    for epoch in range(2):
        total = 0.0
        for images, labels in DataLoader(dataset, batch_size, shuffle=True):
            value = loss(model(images), labels)
            value.backward()
            sgd.step()
            sgd.zero_grad()
            total += value.item() * len(labels)
        print(f"epoch {epoch + 1}: loss {total / len(dataset):.4f}")

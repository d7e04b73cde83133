"""A network that waits for its data: each image is decoded and augmented in pure Python.

    autobatch probe examples/slow_loader.py

What to look for:

- Making one sample takes milliseconds, training on it far less. No batch size helps: samples per
  second stay level, and the finding carries the warning DATA_LOADING with the share of a step
  spent waiting.
- The remedy is in the loader, not in the batch: the row `loader` of the report says which number of
  workers trains fastest on this machine. Set NUM_WORKERS below to it and probe again.

Run by itself, the file trains for two epochs in plain PyTorch.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

SIDE = 32
NUM_IMAGES = 512
NUM_WORKERS = 0

Pixels = list[list[float]]


class EncodedImages(Dataset[tuple[torch.Tensor, int]]):
    """Stripes, flat or upright, kept as run-length-encoded rows of text."""

    def __init__(self) -> None:
        source = random.Random(0)
        self.labels = [source.randrange(2) for _ in range(NUM_IMAGES)]
        self.texts = [encode(draw_stripes(source, label == 1)) for label in self.labels]

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pixels = blur(shift(decode(self.texts[index]), random.randrange(SIDE)))
        return torch.tensor(pixels).unsqueeze(0), self.labels[index]


def draw_stripes(source: random.Random, are_upright: bool) -> list[list[int]]:
    period = source.randrange(4, 9)
    rows = [[int(column % period < period // 2)] * SIDE for column in range(SIDE)]
    if are_upright:
        rows = [list(column) for column in zip(*rows, strict=True)]
    return [[pixel ^ (source.random() < 0.1) for pixel in row] for row in rows]


def encode(rows: list[list[int]]) -> str:
    """Write each row as lengths of runs, beginning with a run of zeros: ``0,3,5,24``."""
    lines = []
    for row in rows:
        runs, last = [0], 0
        for pixel in row:
            if pixel != last:
                runs.append(0)
                last = pixel
            runs[-1] += 1
        lines.append(",".join(map(str, runs)))
    return "\n".join(lines)


def decode(text: str) -> Pixels:
    rows = []
    for line in text.split("\n"):
        row: list[float] = []
        for index, run in enumerate(line.split(",")):
            row += [float(index % 2)] * int(run)
        rows.append(row)
    return rows


def shift(pixels: Pixels, by: int) -> Pixels:
    return [row[by:] + row[:by] for row in pixels[by:] + pixels[:by]]


def blur(pixels: Pixels) -> Pixels:
    """Mean of each pixel and its eight neighbours, edges joined."""
    around = (-1, 0, 1)
    return [
        [
            sum(pixels[(y + dy) % SIDE][(x + dx) % SIDE] for dy in around for dx in around) / 9
            for x in range(SIDE)
        ]
        for y in range(SIDE)
    ]


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=lr)


model = nn.Sequential(
    nn.Conv2d(1, 16, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 16, 3, stride=2, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(16 * 8 * 8, 2),
)
train_loader = DataLoader(EncodedImages(), batch_size=32, shuffle=True, num_workers=NUM_WORKERS)
loss = nn.CrossEntropyLoss()
lr = 1e-3


if __name__ == "__main__":
    torch.manual_seed(0)
    random.seed(0)
    adamw = optimizer(model.parameters())
    for epoch in range(2):
        total = 0.0
        for images, labels in train_loader:
            value = loss(model(images), labels)
            value.backward()
            adamw.step()
            adamw.zero_grad()
            total += value.item() * len(labels)
        print(f"epoch {epoch + 1}: loss {total / NUM_IMAGES:.4f}")

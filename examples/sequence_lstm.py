"""An LSTM that predicts the next value of a noisy sum of three waves.

    autobatch probe examples/sequence_lstm.py
    autobatch probe examples/sequence_lstm.py --dataset-size 1000000

What to look for:

- Fifty time steps run one after the other, whatever the batch size: much of a small step is
  latency, so throughput rises a long way with the batch before it levels off.
- The workload is a DataLoader. Its dataset, collation and workers are kept and its batch size
  is tried out; the 32 it has is the base that the learning rate is scaled from.

Run by itself, the file trains for two epochs in plain PyTorch.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

WINDOW = 50
NUM_WINDOWS = 8_000
PERIODS = (25.0, 60.0, 7.0)


class Forecaster(nn.Module):
    """One LSTM layer; the last hidden state predicts the value that follows the window."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_size=1, hidden_size=64, batch_first=True)
        self.head = nn.Linear(64, 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Predicted next values of windows of shape ``(samples, time, 1)``."""
        states, _ = self.lstm(windows)
        return self.head(states[:, -1])


def make_dataset() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(NUM_WINDOWS + WINDOW, dtype=torch.float32)
    waves = sum(torch.sin(2 * math.pi * time / period) for period in PERIODS)
    sequence = waves + 0.1 * torch.randn(len(time), generator=generator)
    windows = sequence.unfold(0, WINDOW, 1)[:NUM_WINDOWS]
    return TensorDataset(windows.unsqueeze(-1), sequence[WINDOW:].unsqueeze(-1))


model = Forecaster()
train_loader = DataLoader(make_dataset(), batch_size=32, shuffle=True)
loss = nn.MSELoss()
optimizer = torch.optim.Adam
lr = 2e-3


if __name__ == "__main__":
    torch.manual_seed(0)
    adam = optimizer(model.parameters(), lr=lr)
    for epoch in range(2):
        total = 0.0
        for windows, following in train_loader:
            value = loss(model(windows), following)
            value.backward()
            adam.step()
            adam.zero_grad()
            total += value.item() * len(following)
        print(f"epoch {epoch + 1}: loss {total / NUM_WINDOWS:.4f}")

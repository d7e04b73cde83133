"""A multilayer perceptron with 50 hidden units on 1,000 samples of 10 features.

    autobatch probe examples/regression_mlp.py
    autobatch compare examples/regression_mlp.py --batch-sizes 64,full --epochs 64
                      --lr-rule none --validation 0 --plot regression_mlp.svg

What to look for:

- A small step takes a fraction of a millisecond and hardly more for twice the samples, so that
  throughput rises many times over before it levels off.
- What it levels off at is not the network: a loader that fetches a thousand samples one by one
  takes longer than a step on them, and the finding says so (DATA_LOADING).
- The whole dataset fits in one step. The search goes up to 1,000, full-batch training, and the
  report puts updates per epoch beside the throughput: 16 at batch size 64, 1 at 1,000.
- What that means for learning, the second command shows in regression_mlp.svg: full batch descends
  smoothly and slowly, one update per epoch; batch 64 oscillates, and is far ahead after 64 epochs.

The workload is stated in one object, made by a function, so that training never needs autobatch.
Run by itself, the file trains for twenty epochs in plain PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

if TYPE_CHECKING:
    import autobatch

BATCH_SIZE = 64
LEARNING_RATE = 0.01


def make_dataset() -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(1_000, 10, generator=generator)
    weights = torch.randn(10, 1, generator=generator)
    noise = 0.1 * torch.randn(1_000, 1, generator=generator)
    return TensorDataset(features, features @ weights + noise)


def make_model() -> nn.Module:
    return nn.Sequential(nn.Linear(10, 50), nn.ReLU(), nn.Linear(50, 1))


def workload() -> autobatch.Workload:
    import autobatch

    return autobatch.Workload(
        model=make_model,
        dataset=make_dataset(),
        loss=nn.MSELoss(),
        optimizer=torch.optim.SGD,
        batch_size=BATCH_SIZE,
        lr=LEARNING_RATE,
    )


if __name__ == "__main__":
    torch.manual_seed(0)
    model, dataset, loss = make_model(), make_dataset(), nn.MSELoss()
    sgd = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for epoch in range(20):
        total = 0.0
        for features, targets in DataLoader(dataset, BATCH_SIZE, shuffle=True):
            value = loss(model(features), targets)
            value.backward()
            sgd.step()
            sgd.zero_grad()
            total += value.item() * len(targets)
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: loss {total / len(dataset):.4f}")

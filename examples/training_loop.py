"""A plain PyTorch loop that asks autobatch for its batch size before it trains.

    python examples/training_loop.py
    python examples/training_loop.py --batch-size 64 --lr 0.02

The second form does not ask. Given the size and the rate that the first one found it reaches
bit by bit the same weights: but for the time that it takes, the call leaves no trace.
"""

from __future__ import annotations

import argparse
import hashlib

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import autobatch

NUM_SAMPLES = 2_048


def make_dataset() -> TensorDataset:
    """Points on two spirals, and which of the two each is on."""
    turns = torch.rand(NUM_SAMPLES) * 3
    labels = torch.randint(2, (NUM_SAMPLES,))
    angles = turns * 2 + labels * torch.pi
    points = torch.stack((turns * angles.cos(), turns * angles.sin()), dim=1)
    return TensorDataset(points + 0.1 * torch.randn_like(points), labels)


def make_model() -> nn.Module:
    return nn.Sequential(
        nn.Linear(2, 64),
        nn.BatchNorm1d(64),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Linear(64, 64),
        nn.ReLU(),
        nn.Linear(64, 2),
    )


def train(
    model: nn.Module, loader: DataLoader, optimizer: torch.optim.Optimizer, num_steps: int
) -> float:
    """Train for a number of steps; return the last loss."""
    loss_function = nn.CrossEntropyLoss()
    step, loss = 0, torch.zeros(())
    while step < num_steps:
        for points, labels in loader:
            loss = loss_function(model(points), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if step == num_steps:
                break
    return float(loss.detach())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--batch-size", type=int, help="do not ask, take this")
    parser.add_argument("--lr", type=float, default=0.01, help="at batch size 32")
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()

    torch.manual_seed(0)
    dataset, model = make_dataset(), make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=arguments.lr, momentum=0.9)
    if arguments.batch_size is None:
        finding = autobatch.find_batch_size(model, dataset, nn.CrossEntropyLoss(), optimizer)
        finding.apply(optimizer)
        loader = finding.dataloader(dataset)
        print(finding)
    else:
        loader = DataLoader(dataset, batch_size=arguments.batch_size, shuffle=True)
    loss = train(model, loader, optimizer, arguments.steps)

    weights = b"".join(t.detach().numpy().tobytes() for t in model.state_dict().values())
    print(f"--batch-size {loader.batch_size} --lr {optimizer.param_groups[0]['lr']!r}")
    print(f"loss {loss:.4f}, weights {hashlib.sha256(weights).hexdigest()}")


if __name__ == "__main__":
    main()

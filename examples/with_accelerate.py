"""Accelerate: the batch size for objects that were prepared, and a prepared loader with it.

    pip install -c constraints.txt -e '.[accelerate,examples]'
    python examples/with_accelerate.py

A small network on 1,797 handwritten digits is trained twice: with the search in front, and
without it at the size that it found. The weights are the same in the end, bit by bit.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autobatch.integrations.accelerate import find_batch_size, resize

NUM_STEPS = 20

loss_function = nn.CrossEntropyLoss()


def load_dataset() -> TensorDataset:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 16
    return TensorDataset(images, torch.tensor(digits.target))


def train(batch_size: int, *, search: bool) -> tuple[int, dict[str, Any]]:
    set_seed(0)
    accelerator = Accelerator(cpu=True)
    network = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
    model, optimizer, loader = accelerator.prepare(
        network,
        torch.optim.SGD(network.parameters(), lr=0.02, momentum=0.9),
        DataLoader(load_dataset(), batch_size, shuffle=True),
    )
    if search:
        options = {"min_batch_size": 16, "max_batch_size": 64, "time_limit": "8s"}
        finding = find_batch_size(accelerator, model, loader, loss_function, optimizer, **options)
        print(finding)
        batch_size = finding.batch_size
        loader = resize(accelerator, loader, batch_size)
    epochs = itertools.chain.from_iterable(itertools.repeat(loader))
    for images, labels in itertools.islice(epochs, NUM_STEPS):
        loss = loss_function(model(images), labels)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
    return batch_size, accelerator.unwrap_model(model).state_dict()


if __name__ == "__main__":
    found, weights = train(32, search=True)
    _, plain_weights = train(found, search=False)
    same = all(torch.equal(weights[name], plain_weights[name]) for name in weights)
    print(f"{NUM_STEPS} steps at batch size {found}, with the search and without it: the weights "
          f"are {'the same' if same else 'NOT the same'}")  # fmt: skip
    sys.exit(0 if same else 1)

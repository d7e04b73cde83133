"""Ray Train: the batch size found inside of ``train_loop_per_worker``, by all workers together.

    pip install -c constraints.txt -e '.[examples]' 'ray[train]'
    python examples/with_ray.py

Nothing of Ray's is needed for it: its workers are ranks of ``torch.distributed``. Each calls
``find_batch_size`` with the model that ``prepare_model`` wrapped, and all get the same finding.
"""

from __future__ import annotations

from typing import Any

import ray.train
import torch
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer, prepare_data_loader, prepare_model
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import autobatch


def train_loop(config: dict[str, Any]) -> None:
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 16
    dataset = TensorDataset(images, torch.tensor(digits.target))
    model = prepare_model(nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)))
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)

    def make_loader(batch_size: int) -> DataLoader[Any]:
        return prepare_data_loader(DataLoader(dataset, batch_size, shuffle=True))

    loader = make_loader(config["batch_size"])
    options = {"max_batch_size": 256, "time_limit": "20s"}
    finding = autobatch.find_batch_size(model, loader, loss_function, optimizer, **options)
    loader = make_loader(finding.batch_size)
    finding.apply(optimizer)  # the learning rate that goes with it
    for epoch in range(config["num_epochs"]):
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        for inputs, labels in loader:
            loss = loss_function(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    rank = ray.train.get_context().get_world_rank()
    print(f"rank {rank} trained at batch size {finding.batch_size}; last loss {loss.item():.3f}")


if __name__ == "__main__":
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"batch_size": 32, "num_epochs": 3},
        scaling_config=ScalingConfig(num_workers=2),
    )
    trainer.fit()

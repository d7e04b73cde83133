"""Lightning: the batch size is found when ``fit`` starts, and the run goes on with it.

    pip install -c constraints.txt -e '.[lightning,examples]'
    python examples/with_lightning.py

A small network on 1,797 handwritten digits is trained twice: with ``BatchSizeTuner`` as a
callback, and without it at the size that it found. The weights are the same in the end, bit by
bit: the search left no trace but the batch size.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer, seed_everything
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autobatch.integrations.lightning import BatchSizeTuner

NUM_STEPS = 20


class Digits(LightningDataModule):
    """Digits, in batches whose size can be set."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).flatten(1) / 16
        self.dataset = TensorDataset(images, torch.tensor(digits.target))

    def train_dataloader(self) -> DataLoader[Any]:
        """Digits to train with, shuffled."""
        return DataLoader(self.dataset, self.batch_size, shuffle=True)


class Classifier(LightningModule):
    """Two layers, with dropout: training draws random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10)
        )

    def training_step(self, batch: Any, batch_index: int) -> torch.Tensor:
        """The loss of a batch."""
        images, labels = batch
        loss = nn.functional.cross_entropy(self.layers(images), labels)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD with momentum."""
        return torch.optim.SGD(self.parameters(), lr=0.02, momentum=0.9)


def train(batch_size: int, *callbacks: Any) -> tuple[int, dict[str, torch.Tensor]]:
    seed_everything(0, verbose=False)
    module, data = Classifier(), Digits(batch_size)
    trainer = Trainer(
        max_steps=NUM_STEPS,
        accelerator="cpu",
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return data.batch_size, module.state_dict()


if __name__ == "__main__":
    tuner = BatchSizeTuner(min_batch_size=16, max_batch_size=64, time_limit="8s")
    found, weights = train(32, tuner)
    print(tuner.finding)
    _, plain_weights = train(found)
    same = all(torch.equal(weights[name], plain_weights[name]) for name in weights)
    print(f"{NUM_STEPS} steps at batch size {found}, with the search and without it: the weights "
          f"are {'the same' if same else 'NOT the same'}")  # fmt: skip
    sys.exit(0 if same else 1)

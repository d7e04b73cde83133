"""Hugging Face Trainer: sizes, accumulation and all, set before ``train()``.

    pip install -c constraints.txt -e '.[transformers]'
    python examples/with_transformers.py

A small GPT-2 of our own configuration learns the characters of Python's standard library; nothing
is downloaded. The arguments ask for 64 samples per optimizer step. ``tune`` finds how many of
them to take at once and sets ``gradient_accumulation_steps`` for the rest, so that the run is the
one that was asked for. It is made twice, with ``tune`` and without it at the sizes that it found:
the weights are the same in the end, bit by bit.
"""

from __future__ import annotations

import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

from autobatch.integrations.transformers import tune

NUM_STEPS = 4
LENGTH = 32
GLOBAL_BATCH_SIZE = 64


class Characters(Dataset[dict[str, torch.Tensor]]):
    """Windows of a text, side by side."""

    def __init__(self, num_characters: int = 50_000) -> None:
        text = (Path(sysconfig.get_paths()["stdlib"]) / "argparse.py").read_bytes()
        self.text = torch.frombuffer(bytearray(text[:num_characters]), dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.text) // LENGTH

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        window = self.text[index * LENGTH : (index + 1) * LENGTH].long() % 128
        return {"input_ids": window, "labels": window}


def make_trainer(folder: str, batch_size: int, num_accumulated: int) -> Trainer:
    set_seed(0)
    config = GPT2Config(vocab_size=128, n_positions=LENGTH, n_embd=64, n_layer=2, n_head=2)
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=NUM_STEPS,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=num_accumulated,
        learning_rate=1e-3,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    return Trainer(GPT2LMHeadModel(config), arguments, train_dataset=Characters())


def train(trainer: Trainer) -> dict[str, Any]:
    trainer.train()
    return trainer.model.state_dict()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder, GLOBAL_BATCH_SIZE, 1)
        finding = tune(trainer, min_batch_size=8, time_limit="8s")
        print(finding)
        sizes = finding.batch_size, finding.gradient_accumulation_steps
        weights = train(trainer)
        plain_weights = train(make_trainer(folder, *sizes))
    same = all(torch.equal(weights[name], plain_weights[name]) for name in weights)
    print(f"{NUM_STEPS} steps of {sizes[0]} x {sizes[1]} samples, with the search and without it: "
          f"the weights are {'the same' if same else 'NOT the same'}")  # fmt: skip
    sys.exit(0 if same else 1)

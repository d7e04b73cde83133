"""The finders, each called as its documentation says, with the defaults that it has.

A finder is prepared, which imports its library, and then searches; only the search is timed. Each
takes the workload's own model, optimizer and dataset, and answers with a batch size. Of those
that train until an exception comes and leave it to the user how long, three steps are asked for
at each size, as many as Lightning takes by default.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import nn

from scripts.peers.workloads import Workload

_NUM_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a finder said.

    Attributes:
        batch_size: The size to train with.
        details: What else it told.
    """

    batch_size: int
    details: dict[str, Any] = field(default_factory=dict)


Search = Callable[[], Answer]


def prepare_autobatch(workload: Workload, *, goal: str, **options: Any) -> Search:
    """This project's call in training code; it reads the memory limit of the process by itself."""
    from autobatch import find_batch_size

    def search() -> Answer:
        finding = find_batch_size(
            workload.model,
            workload.make_loader(32),
            workload.loss,
            workload.optimizer,
            goal=goal,
            **options,
        )
        report = finding.to_dict()
        names = ("largest_batch_size", "largest_was_run", "budget_bytes", "stop_reason",
                 "samples_per_s")  # fmt: skip
        details = {name: report[name] for name in names}
        details["outcomes"] = [trial["outcome"] for trial in report["trials"]]
        return Answer(batch_size=finding.batch_size, details=details)

    return search


def prepare_lightning(workload: Workload, *, mode: str) -> Search:
    """``Tuner.scale_batch_size``: from 2, three steps at a size, at most 8,192."""
    import lightning.pytorch as pl
    from lightning.pytorch.tuner import Tuner

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = workload.model
            self.batch_size = 2

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return workload.compute_loss(batch)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return workload.optimizer

        def train_dataloader(self) -> Any:
            return workload.make_loader(self.batch_size)

    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=1, default_root_dir=tempfile.gettempdir(),
    )  # fmt: skip
    module = Module()

    def search() -> Answer:
        size = Tuner(trainer).scale_batch_size(module, mode=mode)
        assert size is not None
        return Answer(batch_size=size)

    return search


def prepare_accelerate(workload: Workload, *, start: int | None) -> Search:
    """``find_executable_batch_size``: down from 128 by default, by a tenth after each failure."""
    from accelerate.utils import find_executable_batch_size

    top = min(start or len(workload.dataset), len(workload.dataset))

    @find_executable_batch_size(starting_batch_size=top)
    def train(batch_size: int) -> Answer:
        workload.train(batch_size, _NUM_STEPS)
        return Answer(batch_size=batch_size)

    search: Search = train
    return search


class _WithLoss(nn.Module):
    """A model of two tensors as Transformers' Trainer wants one: named inputs, loss in a dict."""

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.model = workload.model
        self._loss = workload.loss

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        assert self._loss is not None
        return {"loss": self._loss(self.model(inputs), labels)}


class _Named(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Samples of two tensors by name."""

    def __init__(self, workload: Workload) -> None:
        self._dataset = workload.dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        inputs, labels = self._dataset[index]
        return {"inputs": inputs, "labels": labels}


def prepare_transformers(workload: Workload) -> Search:
    """``TrainingArguments(auto_find_batch_size=True)``: down from 8, its default batch size."""
    from torch.utils.data import default_collate
    from transformers import Trainer, TrainingArguments

    folder = tempfile.TemporaryDirectory()
    arguments = TrainingArguments(
        output_dir=folder.name, auto_find_batch_size=True, max_steps=_NUM_STEPS, use_cpu=True,
        report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True,
        remove_unused_columns=False,
    )  # fmt: skip
    returns_loss = workload.loss is None
    trainer = Trainer(
        model=workload.model if returns_loss else _WithLoss(workload),
        args=arguments,
        train_dataset=workload.dataset if returns_loss else _Named(workload),
        data_collator=default_collate,
        optimizers=(workload.optimizer, None),
    )

    def search() -> Answer:
        with folder:
            trainer.train()
        assert trainer.state.train_batch_size is not None
        return Answer(batch_size=trainer.state.train_batch_size)

    return search


def prepare_max_mem(workload: Workload) -> Search:
    """``torch_max_mem.maximize_memory_utilization``: down from the whole dataset, by halves."""
    from torch_max_mem import maximize_memory_utilization

    @maximize_memory_utilization()
    def train(batch_size: int) -> Answer:
        workload.train(batch_size, _NUM_STEPS)
        return Answer(batch_size=batch_size)

    return partial(train, batch_size=len(workload.dataset))


def prepare_toma(workload: Workload) -> Search:
    """``toma.batch``: down from 512, as its documentation has it, by halves."""
    from toma import toma

    @toma.batch(initial_batchsize=512)
    def train(batchsize: int) -> Answer:
        workload.train(batchsize, _NUM_STEPS)
        return Answer(batch_size=min(batchsize, len(workload.dataset)))

    search: Search = train
    return search


def prepare_ludwig(workload: Workload) -> Search:
    """Ludwig's ``BatchSizeEvaluator``: up from its smallest while each of five steps is faster."""
    from ludwig.utils.batch_size_tuner import BatchSizeEvaluator

    class Evaluator(BatchSizeEvaluator):
        def step(self, batch_size: int, global_max_sequence_length: int | None = None) -> None:
            workload.train(batch_size, 1)

    evaluator = Evaluator()

    def search() -> Answer:
        size = evaluator.select_best_batch_size(dataset_len=len(workload.dataset))
        return Answer(batch_size=size)

    return search


PREPARE: dict[str, Callable[[Workload], Search]] = {
    "autobatch": partial(prepare_autobatch, goal="throughput"),
    # No other finder keeps memory free.
    "autobatch-memory": partial(prepare_autobatch, goal="memory", headroom=0.0),
    "lightning-power": partial(prepare_lightning, mode="power"),
    "lightning-binsearch": partial(prepare_lightning, mode="binsearch"),
    "accelerate": partial(prepare_accelerate, start=128),
    "accelerate-top": partial(prepare_accelerate, start=None),
    "transformers": prepare_transformers,
    "torch-max-mem": prepare_max_mem,
    "toma": prepare_toma,
    "ludwig": prepare_ludwig,
}

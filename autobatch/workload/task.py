"""Everything a trial needs of a workload, built once and used at every batch size."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autobatch.records import Settings, WorkloadSummary
from autobatch.workload.batches import BatchSource, RepeatedSource, make_source
from autobatch.workload.catalogues.entry import load_entry
from autobatch.workload.catalogues.require import require_usable
from autobatch.workload.contract import Workload
from autobatch.workload.files import load_namespace, parse_target
from autobatch.workload.loss import LossFunction
from autobatch.workload.names import (
    build_model,
    find_workload,
    lacks_data,
    missing_data_error,
)
from autobatch.workload.optimizer import BuiltOptimizer, build_optimizer, move_state
from autobatch.workload.synthetic import RandomBatches


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTask:
    """A workload that is ready to be trained.

    Attributes:
        workload: What the user said.
        model: The module.
        source: Where batches come from.
        loss: Forward pass and loss.
        built: The optimizer.
        guesses: What had to be assumed, one sentence each.
    """

    workload: Workload
    model: nn.Module
    source: BatchSource
    loss: LossFunction
    built: BuiltOptimizer
    guesses: tuple[str, ...]

    def summarize(self, num_threads: int) -> WorkloadSummary:
        """The task in words and numbers."""
        guesses = [*self.guesses]
        if self.loss.guess:
            guesses.append(self.loss.guess)
        if not self.built.was_given:
            guesses.append("AdamW as the optimizer")
        workload = self.workload
        given_rate = self.built.learning_rate if self.built.was_given else None
        loader_batch_size = getattr(workload.train_loader, "batch_size", None)
        return WorkloadSummary(
            model=type(getattr(self.model, "_orig_mod", self.model)).__name__,
            num_parameters=sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            data=self.source.description,
            loss=self.loss.description,
            optimizer=type(self.built.optimizer).__name__,
            optimizer_was_given=self.built.was_given,
            dataset_size=workload.dataset_size or self.source.dataset_size,
            base_batch_size=workload.batch_size or loader_batch_size,
            base_learning_rate=workload.lr if workload.lr is not None else given_rate,
            has_batch_norm=any(
                isinstance(module, nn.modules.batchnorm._BatchNorm)
                for module in self.model.modules()
            ),
            num_loader_workers=self.source.num_loader_workers,
            num_threads=num_threads,
            guesses=tuple(guesses),
            lengths=self.source.lengths,
        )


def load_task(target_text: str, settings: Settings, device_name: str = "cpu") -> TrainingTask:
    """Load a target and build everything that training it needs.

    Args:
        target_text: The target as the user wrote it.
        settings: For the seed.
        device_name: Where to train.

    Raises:
        WorkloadError: If something is missing or broken; ends in one thing to try.
    """
    target = parse_target(target_text)
    require_usable(target)
    torch.manual_seed(settings.seed)
    if target.catalogue:
        workload, random_source, guesses = load_entry(target, settings)
    else:
        workload, guesses = find_workload(target, load_namespace(target))
    model = build_model(workload, target_text)
    if target.catalogue:
        return _assemble_on(device_name, workload, model, random_source, guesses)
    if target.shape.input is not None:
        batches = RandomBatches(target.shape, settings.seed)
        source: BatchSource = RepeatedSource(batches, batches.description)
    elif lacks_data(workload):
        raise missing_data_error(target_text, workload)
    else:
        source = make_source(workload)
    return _assemble_on(device_name, workload, model, source, guesses)


def _assemble_on(
    device_name: str,
    workload: Workload,
    model: nn.Module,
    source: BatchSource,
    guesses: Sequence[str],
) -> TrainingTask:
    """Move everything that has tensors, and only then make the optimizer, whose state follows."""
    model.to(device_name)
    if isinstance(workload.loss, nn.Module):  # it may have weights
        workload.loss.to(device_name)
    if isinstance(workload.optimizer, torch.optim.Optimizer):
        move_state(workload.optimizer)
    return assemble(workload, model, source, guesses)


def assemble(
    workload: Workload, model: nn.Module, source: BatchSource, guesses: Sequence[str] = ()
) -> TrainingTask:
    """Make a task of a model and its data: training mode, loss, optimizer.

    Args:
        workload: For the loss and the optimizer.
        model: The module.
        source: Where batches come from.
        guesses: What had to be assumed, one sentence each.

    Raises:
        WorkloadError: If the optimizer cannot be made.
    """
    if not model.training:
        model.train()
    return TrainingTask(
        workload=workload,
        model=model,
        source=source,
        loss=LossFunction(workload, model),
        built=build_optimizer(workload, model),
        guesses=tuple(guesses),
    )


def move_to(batch: Any, device: torch.device) -> Any:
    """Move all tensors of a batch to a device, however it is nested.

    Args:
        batch: The batch.
        device: Where to.
    """
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if callable(getattr(batch, "to", None)) and not isinstance(batch, type):
        return batch.to(device)  # it knows best, such as a PackedSequence
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move_to(part, device) for part in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(move_to(part, device) for part in batch)
    if isinstance(batch, Mapping):
        return {key: move_to(value, device) for key, value in batch.items()}
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        parts = {
            field.name: move_to(getattr(batch, field.name), device)
            for field in dataclasses.fields(batch)
            if field.init
        }
        return dataclasses.replace(batch, **parts)
    return batch

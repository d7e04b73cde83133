"""Everything a trial needs of a workload, built once and used at every batch size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from autobatch.errors import WorkloadError
from autobatch.records import Axis, Settings, WorkloadSummary
from autobatch.records.settings import DEFAULT_BASE_BATCH_SIZE
from autobatch.units import format_learning_rate
from autobatch.workload.along import along_axis, count_positions
from autobatch.workload.batches import BatchSource, make_source
from autobatch.workload.catalogues.entry import load_entry
from autobatch.workload.catalogues.require import require_usable
from autobatch.workload.contract import Workload
from autobatch.workload.files import Target, load_namespace, parse_target
from autobatch.workload.loss import LossFunction
from autobatch.workload.names import (
    build_model,
    find_workload,
    lacks_data,
    missing_data_error,
)
from autobatch.workload.optimizer import BuiltOptimizer, build_optimizer, move_state
from autobatch.workload.own_steps import OwnOptimizer
from autobatch.workload.repeated import RepeatedSource, keep_batches
from autobatch.workload.synthetic import RandomBatches
from autobatch.workload.tensors import map_parts
from autobatch.workload.training_watch import TrainingWatch


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

    def summarize(self, num_threads: int, settings: Settings) -> WorkloadSummary:
        """The task in words and numbers.

        Args:
            num_threads: CPU threads of a trial.
            settings: What they say need not be assumed.
        """
        workload, own = self.workload, self.loss.facts.own_optimizers
        optimizer: str | None = type(self.built.optimizer).__name__
        given_rate = self.built.learning_rate if self.built.was_given else None
        if own:
            optimizer, given_rate = _join(own, given_rate)
        loader_batch_size = getattr(workload.train_loader, "batch_size", None)
        base_batch_size = workload.batch_size or loader_batch_size
        assumed = self._assume(settings, base_batch_size)
        return WorkloadSummary(
            model=type(getattr(self.model, "_orig_mod", self.model)).__name__,
            num_parameters=sum(p.numel() for p in self.model.parameters() if p.requires_grad),
            data=self.source.description,
            loss=self.loss.facts.description,
            optimizer=optimizer,
            optimizer_was_given=self.built.was_given or bool(own),
            dataset_size=workload.dataset_size or self.source.dataset_size,
            base_batch_size=base_batch_size,
            base_learning_rate=workload.lr if workload.lr is not None else given_rate,
            has_batch_norm=any(
                isinstance(module, nn.modules.batchnorm._BatchNorm)
                for module in self.model.modules()
            ),
            num_loader_workers=self.source.num_loader_workers,
            num_threads=num_threads,
            guesses=(*self.guesses, *self.loss.facts.guesses, *assumed),
            lengths=self.source.lengths,
            num_positions=count_positions(self.model)
            if settings.axis is Axis.SEQUENCE_LENGTH
            else None,
        )

    def _assume(self, settings: Settings, base_batch_size: int | None) -> Iterator[str]:
        """What stands for what neither the workload nor the settings say."""
        name = type(self.built.optimizer).__name__
        if not self.loss.facts.steps_itself:
            if not self.built.was_given:
                yield f"{name} as the optimizer"
            elif self.built.rate_is_default and self.workload.lr is settings.learning_rate is None:
                rate = format_learning_rate(self.built.learning_rate or 0.0)
                yield f"{rate} as the learning rate, the default of {name}"
        is_asked = settings.base_batch_size is None and settings.axis is Axis.BATCH_SIZE
        if base_batch_size is None and is_asked:
            yield f"{DEFAULT_BASE_BATCH_SIZE} as the batch size trained with now"


def _join(own: Sequence[OwnOptimizer], given_rate: float | None) -> tuple[str | None, float | None]:
    """The class and the rate of all optimizers that a training step steps, where they have one.

    Args:
        own: Those optimizers.
        given_rate: Rate of the one that the workload names, which has been set to zero.
    """
    names = {each.name for each in own}
    rates = {each.learning_rate or given_rate for each in own}
    return (
        names.pop() if len(names) == 1 else None,
        rates.pop() if len(rates) == 1 else None,
    )


def load_task(
    target_text: str, settings: Settings, device_name: str = "cpu", *, needs_room: bool = True
) -> TrainingTask:
    """Load a target and build everything that training it needs.

    Args:
        target_text: The target as the user wrote it.
        settings: For the seed.
        device_name: Where to train.
        needs_room: Whether a model larger than this machine's memory is refused.

    Raises:
        WorkloadError: If something is missing or broken; ends in one thing to try.
    """
    target = parse_target(target_text)
    require_usable(target)
    torch.manual_seed(settings.seed)
    if target.catalogue:
        workload, random_source, guesses = load_entry(target, settings, needs_room=needs_room)
    else:
        watch = TrainingWatch.of(target)
        namespace = load_namespace(target, watch)
        workload, guesses = _find_workload(target, namespace, watch)
    model = build_model(workload, target_text)
    source: BatchSource
    if target.catalogue:
        source = random_source
    elif target.shape.input is not None:
        batches = RandomBatches(target.shape, settings.seed)
        source = RepeatedSource(batches, batches.description)
    elif lacks_data(workload):
        raise missing_data_error(target, workload, namespace)
    else:
        source = make_source(workload)
    workload, source = along_axis(workload, source, settings)
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
    keep_batches(source, device_name)
    return assemble(workload, model, source, guesses)


def _find_workload(
    target: Target, namespace: Mapping[str, Any], watch: TrainingWatch
) -> tuple[Workload, list[str]]:
    """The workload of a file, as it was before the file trained."""
    trained = watch.describe()
    try:
        workload, guesses = find_workload(target, namespace)
    except WorkloadError as error:
        if trained:
            error.args = (f"{error}; {trained}",)
        raise
    if not trained:
        return workload, guesses
    optimizer = workload.optimizer
    if isinstance(optimizer, torch.optim.Optimizer):
        optimizer.state.clear()
        optimizer.zero_grad(set_to_none=True)
    return workload, [*guesses, trained]


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

    def move(part: Any) -> Any:
        if isinstance(part, torch.Tensor):
            return part.to(device, non_blocking=True)
        if callable(getattr(part, "to", None)) and not isinstance(part, type):
            return part.to(device)  # it knows best, such as a PackedSequence
        return None

    return map_parts(batch, move)

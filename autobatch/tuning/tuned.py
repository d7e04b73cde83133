"""A task with levers on, and the worker that has one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import nn

from autobatch.probe.protocol import LoadRequest
from autobatch.probe.worker.worker import Worker, load_target
from autobatch.probe.worker.worker import main as serve
from autobatch.records import Settings
from autobatch.tuning.levers import Parts, put_on_all
from autobatch.tuning.recipe import lines_beside
from autobatch.tuning.records import Changes, Tuning
from autobatch.workload.batches import BatchSource, LoaderSource
from autobatch.workload.contract import Workload
from autobatch.workload.live import BuildTask, build_task
from autobatch.workload.task import TrainingTask


@dataclass(slots=True, kw_only=True)
class Switch:
    """Levers on the parts of a task.

    Attributes:
        parts: What they are put on.
        changes: The levers.
    """

    parts: Parts
    changes: Changes
    _take_off: Callable[[], None] = field(default=lambda: None, init=False)

    def on(self) -> None:
        """Put them on."""
        self._take_off = put_on_all(self.parts, self.changes)

    def off(self) -> None:
        """Take them off."""
        self._take_off()


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedTask(TrainingTask):
    """A task with levers on.

    Attributes:
        switch: Takes them off and puts them on again.
    """

    switch: Switch


def tune_task(task: TrainingTask, changes: Changes) -> TunedTask:
    """The task with levers put on."""
    switch = Switch(parts=Parts(model=task.model, optimizer=task.built.optimizer), changes=changes)
    switch.on()
    source, optimizer = task.source, switch.parts.optimizer
    if switch.parts.loader and isinstance(source, LoaderSource):
        source = source.with_options(**switch.parts.loader)
    assert optimizer is not None
    return TunedTask(
        workload=task.workload,
        model=task.model,
        source=source,
        loss=task.loss,
        built=replace(task.built, optimizer=optimizer),
        guesses=task.guesses,
        switch=switch,
    )


def build_with(changes: Changes) -> BuildTask:
    """``build_task`` for objects that levers are put on."""

    def build(
        workload: Workload, settings: Settings, source: BatchSource | None = None
    ) -> TrainingTask:
        return tune_task(build_task(workload, settings, source), changes)

    return build


def apply_changes(
    tuning: Tuning, model: nn.Module, optimizer: torch.optim.Optimizer | None
) -> tuple[str, ...]:
    """Put the chosen levers on, as far as they are of the model and its optimizer.

    Args:
        tuning: Has the chosen settings.
        model: The module.
        optimizer: Its optimizer, if it is to be changed as well.

    Returns:
        What is left to do, as lines to paste.
    """
    names = {"threads", "channels_last", "checkpointing", "compile"}
    names |= set() if optimizer is None else {"optimizer"}
    changes = {name: value for name, value in tuning.changes.items() if name in names}
    put_on_all(Parts(model=model, optimizer=optimizer), changes)
    return lines_beside(tuning, has_optimizer=optimizer is not None)


def main(changes: Changes) -> None:
    """Run a worker whose target has levers on.

    Args:
        changes: The levers.
    """
    serve(Worker(make_task=partial(_load, changes)))


def main_of_rank(changes: Changes) -> None:
    """Run the worker of a rank whose target has levers on.

    Args:
        changes: The levers.
    """
    from autobatch.ranks.worker import make_target_worker

    of_optimizer = {name: value for name, value in changes.items() if name == "optimizer"}

    def finish(task: TrainingTask) -> TrainingTask:
        """Sharding makes the optimizer anew, of the parameters that there are then."""
        put_on_all(Parts(model=task.model, optimizer=task.built.optimizer), of_optimizer)
        return task

    serve(make_target_worker(partial(_load, changes), finish))


def _load(changes: Changes, request: LoadRequest, device_name: str) -> TrainingTask:
    return tune_task(load_target(request, device_name), changes)

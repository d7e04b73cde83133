"""Trials on the replayed device: in this process, or in a worker as a GPU has one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from autobatch.probe.client import TargetProber
from autobatch.probe.isolation.in_place import InPlace
from autobatch.probe.protocol import Limits, Loaded, TimingPlan, TrialRequest
from autobatch.probe.worker.load import load
from autobatch.probe.worker.loaded import LoadedWorker
from autobatch.probe.worker.process import Process, start_process
from autobatch.probe.worker.worker import Worker, load_target, main
from autobatch.records import Settings, Trial
from autobatch.testing.replayed.device import ReplayedCuda, ReplayedDevice
from autobatch.testing.replayed.storages import Storages
from autobatch.workload.batches import WorstBatches
from autobatch.workload.task import TrainingTask

_ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedGpu:
    """What a replayed device is made of; can be written as Python code.

    Attributes:
        capacity_bytes: All its memory.
        overhead_bytes: What the driver holds besides the allocator.
        expandable_segments: As the allocator's setting; ``PYTORCH_CUDA_ALLOC_CONF`` may set it too.
        scale: Bytes of the device for each byte of a tensor: the memory of a large model at the
            cost of a small one.
    """

    capacity_bytes: int
    overhead_bytes: int = 0
    expandable_segments: bool = False
    scale: int = 1

    def open(self) -> ReplayedDevice:
        """Make the device, with an allocator that has served nothing."""
        asked = [os.environ.get(name, "") for name in _ALLOCATOR_VARIABLES]
        is_asked = any("expandable_segments:True" in each for each in asked)
        return ReplayedDevice(
            ReplayedCuda(
                self.capacity_bytes,
                overhead_bytes=self.overhead_bytes,
                expandable_segments=self.expandable_segments or is_asked,
            ),
            self.scale,
        )


def make_replayed_prober(
    target: str, settings: Settings, gpu: ReplayedGpu, **options: Any
) -> TargetProber:
    """Measure a target as on a GPU: in worker processes that do not fork for a trial.

    Args:
        target: As of ``TargetProber``.
        settings: The same; its device is the CPU.
        gpu: What each worker has for a device.
        **options: The rest of ``TargetProber``.
    """
    entry = (
        "from autobatch.testing.replayed.prober import ReplayedGpu, serve_trials; "
        f"serve_trials({gpu!r})"
    )

    def start() -> Process:
        return start_process(settings.variables, entry)

    return TargetProber(target, settings, start=start, **options)


def serve_trials(gpu: ReplayedGpu) -> None:
    """Be a worker that has a replayed device."""
    device = gpu.open()
    main(
        Worker(
            select=lambda name: device,
            make_task=lambda request, _: place(load_target(request, "cpu"), device),
        )
    )


class InProcessProber:
    """Measures a workload in this process; a final run has a device and a model of its own.

    Args:
        make_task: Makes the workload anew.
        settings: Settings of the search.
        gpu: The device to measure on.

    Attributes:
        device: The one in use, once something has been loaded.
        on_trial: Called before each trial.
    """

    def __init__(
        self, make_task: Callable[[], TrainingTask], settings: Settings, gpu: ReplayedGpu
    ) -> None:
        self._make_task = make_task
        self._settings = settings
        self._gpu = gpu
        self._worker: LoadedWorker | None = None
        self.device = gpu.open()
        self.on_trial: Callable[[int], None] = lambda batch_size: None

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Make the device and the workload, and run one step."""
        self._worker = None
        device = self.device = self._gpu.open()
        self._worker, loaded = load(
            lambda: place(self._make_task(), device), self._settings, device, InPlace()
        )
        return loaded

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size."""
        if self._worker is None or plan.is_confirmation:
            self.load()
        worker = self._worker
        assert worker is not None
        self.on_trial(batch_size)
        limits = Limits(budget_bytes=worker.budget.budget_bytes, timeout_s=timeout_s)
        request = TrialRequest(batch_size=batch_size, plan=plan, limits=limits)
        return worker.measure(request).trial


def place(task: TrainingTask, device: ReplayedDevice) -> TrainingTask:
    """Put a task's model, loss and optimizer into a device's memory, and its batches from now on.

    Args:
        task: Just made.
        device: Where to.
    """
    roots = [task.model, task.workload.loss]
    for tensor in (t for root in roots if isinstance(root, nn.Module) for t in _tensors(root)):
        device.storages.hold(tensor)
    for state in task.built.optimizer.state.values():
        for value in state.values():
            if isinstance(value, torch.Tensor):
                device.storages.hold(value)
    # It is there: PyTorch would copy it, to a device that it takes for another one.
    task.model.to = lambda *args, **options: task.model  # type: ignore[method-assign]
    _copy_batches(task.source, device.storages)
    return task


def _tensors(module: nn.Module) -> Iterator[torch.Tensor]:
    """Parameters and buffers in the order in which ``Module.to`` moves them."""
    for child in module.children():
        yield from _tensors(child)
    own = (*module._parameters.values(), *module._buffers.values())
    yield from (tensor for tensor in own if tensor is not None)


def _copy_batches(source: Any, storages: Storages) -> None:
    """Have a source make its batches in the host's memory, and give copies of them."""
    make_batches, list_worst = source.batches, source.worst_batches

    def batches(batch_size: int) -> Iterator[Any]:
        with storages.paused():
            made = make_batches(batch_size)
        while True:
            with storages.paused():
                batch = next(made)
            yield _copy(batch)

    def worst_batches(batch_size: int) -> WorstBatches:
        return [(name, partial(make_copy, make)) for name, make in list_worst(batch_size)]

    def make_copy(make: Callable[[], Any]) -> Any:
        with storages.paused():
            batch = make()
        return _copy(batch)

    source.batches, source.worst_batches = batches, worst_batches


def _copy(batch: Any) -> Any:
    return tree_map_only(torch.Tensor, torch.clone, batch)

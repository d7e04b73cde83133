"""Loading a workload."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable
from dataclasses import replace

import psutil
import torch

from autobatch.devices.base import Device
from autobatch.devices.cpu import count_usable_cores
from autobatch.devices.host import open_pinned
from autobatch.errors import DeviceError
from autobatch.probe.isolation.base import Isolation
from autobatch.probe.protocol import Loaded
from autobatch.probe.trial.compiled import is_compiled
from autobatch.probe.worker.loaded import LoadedWorker, find_host_budget
from autobatch.records import Environment, MemoryBudget, Precision, Settings, WorkloadSummary
from autobatch.workload.batches import LoaderSource
from autobatch.workload.repeated import RepeatedSource
from autobatch.workload.task import TrainingTask


def load(
    make_task: Callable[[], TrainingTask],
    settings: Settings,
    device: Device,
    isolation: Isolation,
    *,
    uses_kernel: bool = sys.platform == "linux",
    tell: Callable[[str], None] = lambda doing: None,
) -> tuple[LoadedWorker, Loaded]:
    """Make a task, look at its data, and run one step of it.

    Args:
        make_task: Makes it.
        settings: Settings of the search.
        device: Where to train.
        isolation: Keeps one piece of work apart from the next.
        uses_kernel: Whether to ask the kernel for host memory, as Linux lets one; else sample.
        tell: Receives what is done now, in words.

    Returns:
        The loaded worker, and the reply to the parent.

    Raises:
        WorkFailed: If the user's code raised in work that was kept apart.
    """
    _require_precision(device, settings.precision)
    tell("making the model and its data")
    task, num_threads = isolation.load(make_task, device)
    source = task.source
    if isinstance(source, LoaderSource):
        tell("looking at the lengths of its samples")
        source.keep_lengths(isolation.read(lambda: source.scan(settings.seed)))
    bounds = device.bounds(settings.memory_limit_bytes)
    worker = LoadedWorker(
        task=task,
        device=device,
        settings=settings,
        isolation=isolation,
        budget=MemoryBudget.from_bounds(bounds, headroom_fraction=settings.headroom_fraction),
        host_budget=find_host_budget(device, settings.headroom_fraction),
        pinned=open_pinned(device.name),
        uses_kernel=uses_kernel,
        is_mid_training=bool(getattr(task.workload.optimizer, "state", None)),
        tell=tell,
    )
    tell("running a first step")
    rehearsal = worker.rehearse()
    return worker, Loaded(
        workload=_summarize(task, settings, num_threads),
        environment=_describe_environment(device, isolation, settings),
        device=device.name,
        budget=worker.budget,
        memory_is_enforced=_can_enforce(device, worker.budget),
        peak_uncertainty_fraction=device.peak_uncertainty_fraction,
        smallest_batch_size=rehearsal.batch_size,
        loss_is_finite=rehearsal.loss_is_finite,
        host_budget=worker.host_budget,
        repeats_batch=isinstance(source, RepeatedSource),
        idle_bytes=psutil.Process().memory_info().rss if device.name == "cpu" else None,
    )


def _summarize(task: TrainingTask, settings: Settings, num_threads: int) -> WorkloadSummary:
    summary = task.summarize(num_threads, settings)
    return replace(summary, is_compiled=is_compiled(task.model))


def _can_enforce(device: Device, budget: MemoryBudget) -> bool:
    """Whether a trial that exceeds the budget fails, or is only noticed."""
    with device.enforce(budget.budget_bytes) as is_enforced:
        return is_enforced


def _require_precision(device: Device, precision: Precision) -> None:
    reason = device.unsupported_reason(precision)
    if reason:
        raise DeviceError(
            f"`precision={precision.value}` cannot be used: {reason}",
            hint="use `precision=bf16` or `precision=fp32`",
        )


def _describe_environment(device: Device, isolation: Isolation, settings: Settings) -> Environment:
    return Environment(
        device_name=device.hardware_name(),
        driver_version=device.driver_version(),
        torch_version=str(torch.__version__),
        python_version=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        num_cores=count_usable_cores(),
        isolation=isolation.label,
        variables=settings.variables,
    )

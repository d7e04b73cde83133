"""What a command trains, in words and numbers, from what was seen of it."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autobatch.command.events import Event, Speaker
from autobatch.command.gpu import GpuMemory, read_gpu
from autobatch.command.steps import StepsSeen
from autobatch.command.template import Template
from autobatch.devices.cpu import CpuDevice, count_usable_cores
from autobatch.records import Environment, WorkloadSummary
from autobatch.units import format_count

_RATE_NAME = re.compile(r"(?:.*[-_.])?(?:lr|learning[-_]?rate)", re.IGNORECASE)
_ALIKE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What one run showed of the training.

    Attributes:
        model: Class name of the outermost module.
        num_parameters: Of it.
        has_batch_norm: Whether it has a BatchNorm layer.
        optimizers: Class names.
        learning_rate: Of the first group of the first optimizer, before any schedule; ``None`` if
            it cannot be told from a schedule.
        dataset: Class name.
        dataset_size: Samples; ``None`` if unknown.
        num_workers: Of the training loader.
        can_resize: Whether its batches can be resized in place.
        seen_by: What steps were seen by.
        num_passes: Backward passes of a step.
        num_ranks: Processes that train.
        device: Kind of the device that holds the parameters.
        gpu: Its memory, if that is a GPU.
        num_threads: Threads of a step.
        torch_version: Version of PyTorch.
        python_version: Version of Python.
    """

    model: str
    num_parameters: int
    has_batch_norm: bool
    optimizers: tuple[str, ...]
    learning_rate: float | None
    dataset: str
    dataset_size: int | None
    num_workers: int
    can_resize: bool
    seen_by: str
    num_passes: int
    num_ranks: int
    device: str
    gpu: GpuMemory | None
    num_threads: int
    torch_version: str
    python_version: str


def describe_run(trainers: Sequence[Speaker], seen: StepsSeen) -> Trained:
    """Gather what a run showed.

    Args:
        trainers: The processes that train, at least one.
        seen: The steps of the first.
    """
    first = trainers[0]
    module: Event = next(iter(first.modules), ["module", "", 0, False, "cpu", []])
    loader = first.loaders.get(seen.loader) if seen.loader is not None else None
    torch = first.facts.get("torch", ["torch", 0.0, "", count_usable_cores()])
    passes = sorted(step.num_passes for step in seen.steps) or [1]
    optimizers = [first.optimizers[number] for number in sorted(first.optimizers)]
    return Trained(
        model=module[1] or "a model without modules",
        num_parameters=module[2] or sum(each[3] for each in optimizers),
        has_batch_norm=module[3],
        optimizers=tuple(dict.fromkeys(each[2] for each in optimizers)),
        learning_rate=find_base_rate(optimizers, seen.rates),
        dataset=loader[2] if loader is not None else "",
        dataset_size=loader[3] if loader is not None else None,
        num_workers=loader[6] if loader is not None else 0,
        can_resize=bool(loader is not None and loader[7] and seen.seen_by != "loader"),
        seen_by=seen.seen_by,
        num_passes=max(1, passes[len(passes) // 2]),
        num_ranks=len(trainers),
        device=next((each[-1] for each in optimizers), module[4]),
        gpu=read_gpu(trainers),
        num_threads=torch[3],
        torch_version=torch[2],
        python_version=first.python or platform.python_version(),
    )


def find_base_rate(optimizers: Sequence[Event], rates: Sequence[float]) -> float | None:
    """The learning rate that a user has set.

    A scheduler of PyTorch keeps it as ``initial_lr``. Without that, a rate that changes from step
    to step is some point of a schedule.

    Args:
        optimizers: As they were introduced.
        rates: Of the first optimizer's steps.
    """
    if not optimizers:
        return None
    rate, initial = optimizers[0][4:6]
    if initial is not None:
        return float(initial)
    is_steady = all(abs(each - rates[0]) <= _ALIKE * abs(rates[0]) for each in rates)
    return float(rate) if rate is not None and is_steady else None


def summarize(
    trained: Trained, template: Template, base_batch_size: int | None, guesses: tuple[str, ...]
) -> WorkloadSummary:
    """The workload, as reports show it.

    Args:
        trained: What the first run showed.
        template: The command.
        base_batch_size: The size that it is trained with now, if known.
        guesses: What was assumed.
    """
    data = f"{trained.dataset} by its DataLoader" if trained.dataset else "the script's own"
    return WorkloadSummary(
        model=trained.model,
        num_parameters=trained.num_parameters,
        data=data,
        loss="the script's own",
        optimizer=trained.optimizers[0] if trained.optimizers else None,
        optimizer_was_given=True,
        dataset_size=trained.dataset_size,
        base_batch_size=base_batch_size,
        base_learning_rate=trained.learning_rate,
        has_batch_norm=trained.has_batch_norm,
        num_loader_workers=trained.num_workers,
        num_threads=trained.num_threads,
        guesses=(*((template.guess,) if template.guess else ()), *_explain(trained), *guesses),
    )


def _explain(trained: Trained) -> list[str]:
    """What the steps were taken for, where that is not plain."""
    told = []
    if trained.seen_by == "backward":
        told.append("a step ends with each backward pass: no optimizer of PyTorch was seen")
    elif trained.seen_by == "loader":
        told.append(
            "a step ends with each batch: neither a backward pass nor an optimizer was seen"
        )
    if trained.num_passes > 1 and len(trained.optimizers) < 2:
        passes = format_count(trained.num_passes)
        told.append(f"the script makes {passes} backward passes per optimizer step")
    return told


def describe_environment(
    trained: Trained, gpu: GpuMemory | None, variables: Mapping[str, str]
) -> Environment:
    """Where the trials run.

    Args:
        trained: What the first run showed.
        gpu: The GPU that it trained on.
        variables: Environment variables that the user set for them.
    """
    return Environment(
        device_name=CpuDevice().hardware_name() if gpu is None else gpu.name,
        driver_version=None,
        torch_version=trained.torch_version,
        python_version=trained.python_version,
        platform=f"{platform.system()} {platform.machine()}",
        num_cores=count_usable_cores(),
        isolation="process",
        variables=dict(variables),
    )


def with_rate(arguments: Sequence[str], base: float, rate: float) -> tuple[str, ...]:
    """Arguments with another learning rate, where one of them holds the base rate.

    Args:
        arguments: Of a command.
        base: The learning rate that is set now.
        rate: The one to set.
    """
    filled = list(arguments)
    for index, each in enumerate(arguments):
        name, equals, value = each.partition("=")
        if not equals and index:
            name, value = arguments[index - 1], each
        if _RATE_NAME.fullmatch(name.lstrip("-")) and _is_number(value, base):
            filled[index] = f"{name}={rate:.6g}" if equals else f"{rate:.6g}"
    return tuple(filled)


def _is_number(text: str, number: float) -> bool:
    try:
        return abs(float(text) - number) <= 1e-6 * abs(number)
    except ValueError:
        return False

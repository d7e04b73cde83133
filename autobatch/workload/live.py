"""From the objects that a caller holds to a workload and a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Protocol

import numpy
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from autobatch.errors import SettingsError, WorkloadError
from autobatch.records import Settings
from autobatch.workload.batches import BatchSource, make_source
from autobatch.workload.contract import Workload
from autobatch.workload.repeated import keep_batches
from autobatch.workload.shape import read_input, split_target
from autobatch.workload.synthetic import RandomBatches
from autobatch.workload.task import TrainingTask, assemble

_FORMS = (
    "give a DataLoader, a dataset, a function of the batch size, one sample, or the text "
    "'input=3x224x224,classes=1000'"
)


def describe_objects(
    model: Any,
    data: Any,
    *,
    loss: Any = None,
    optimizer: Any = None,
    training_step: Any = None,
    optimizer_step: Any = None,
    collate_fn: Any = None,
    length: Any = None,
    evaluate: Any = None,
    eval_loader: Any = None,
    seed: int = 0,
) -> Workload:
    """Say in the words of the workload contract what the caller's objects are.

    A tensor, an array, a tuple, a mapping or a dataclass is one sample; a list is a dataset.

    Args:
        model: A module.
        data: A loader, a dataset, a function of the batch size, a sample, or text about one.
        loss: A function of output and target.
        optimizer: An optimizer of the model, a class, or a function of the parameters.
        training_step: A function of the model and a batch.
        optimizer_step: A function of the model and the optimizer.
        collate_fn: How samples become a batch.
        length: How long a sample is.
        evaluate: How training evaluates: a function of the model and a loader.
        eval_loader: What it evaluates on.
        seed: Of random batches.

    Raises:
        WorkloadError: If one of them cannot be what it should.
    """
    if isinstance(data, str) and "=" in data:
        _, values = split_target(f",{data}")
        data = RandomBatches(read_input(values, f"data={data!r}"), seed)
    if not isinstance(model, nn.Module):
        raise WorkloadError(
            f"'model' is a {_name_of(model)}, not a torch.nn.Module",
            hint="give the model itself, not its class or the function that makes it",
        )
    functions: dict[str, Any] = {
        "loss": loss, "training_step": training_step, "optimizer_step": optimizer_step,
        "collate_fn": collate_fn, "length": length, "evaluate": evaluate,
    }  # fmt: skip
    for name, value in functions.items():
        if value is not None and (not callable(value) or isinstance(value, type)):
            raise WorkloadError(
                f"{name!r} is a {_name_of(value)}, not a function", hint=f"make {name} a function"
            )
    if optimizer is not None and not callable(optimizer) and not _is_optimizer(optimizer):
        raise WorkloadError(
            f"'optimizer' is a {_name_of(optimizer)}",
            hint="give a torch.optim.Optimizer, its class, or a function of the parameters",
        )
    _require_loader(eval_loader)
    objects = {**functions, "eval_loader": eval_loader, _kind_of(data): data}
    return Workload(model=model, optimizer=optimizer, **objects)


def _require_loader(eval_loader: Any) -> None:
    if eval_loader is not None and not isinstance(eval_loader, DataLoader):
        raise WorkloadError(
            f"'eval_loader' is a {_name_of(eval_loader)}, not a torch.utils.data.DataLoader",
            hint="give the loader that is evaluated on",
        )


def find_model_device(model: nn.Module, asked: str) -> str:
    """The device that a caller's model is on, which is where it is trained.

    Args:
        model: The module.
        asked: ``auto``, or the device that the caller named.

    Raises:
        WorkloadError: If its tensors are on several devices, or have no memory yet.
        SettingsError: If the caller named another one.
    """
    tensors = [*model.parameters(), *model.buffers()]
    devices = sorted({str(tensor.device) for tensor in tensors}) or ["cpu"]
    if len(devices) > 1:
        raise WorkloadError(
            f"the model is spread over {', '.join(devices)}", hint="move all of it to one device"
        )
    own = devices[0]
    if own == "meta":
        raise WorkloadError("the model is on the meta device", hint="use model.to_empty(...)")
    if asked not in ("auto", own, own.partition(":")[0]):
        raise SettingsError(
            f"device={asked!r}, but the model is on {own}",
            hint=f"move it first: model.to({asked!r}), before the optimizer is made",
        )
    return own


class BuildTask(Protocol):
    """Makes a task of a caller's workload, as ``build_task`` does."""

    def __call__(
        self, workload: Workload, settings: Settings, source: BatchSource | None = None
    ) -> TrainingTask:
        """As ``build_task``."""


def build_task(
    workload: Workload, settings: Settings, source: BatchSource | None = None
) -> TrainingTask:
    """All that training a caller's workload takes.

    The model is put in training mode and the learning rates of its optimizer are set to zero:
    the caller must undo that.

    Args:
        workload: From ``describe_objects``.
        settings: For the seed and the device.
        source: Where batches come from, if it has been made before.

    Raises:
        WorkloadError: If something is missing or broken.
    """
    torch.manual_seed(settings.seed)
    assert isinstance(workload.model, nn.Module)
    if source is None:
        source = make_source(workload)
        keep_batches(source, settings.device)
    return assemble(workload, workload.model, source)


def _kind_of(data: Any) -> str:
    if isinstance(data, DataLoader):
        return "train_loader"
    if isinstance(data, Dataset):
        return "dataset"
    if isinstance(data, (torch.Tensor, numpy.ndarray, tuple, Mapping)) or is_dataclass(data):
        return "sample"
    if isinstance(data, list) or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        if isinstance(data, (str, bytes)):
            raise WorkloadError(f"'data' is {data!r:.60}", hint=_FORMS)
        return "dataset"
    if callable(data) and not isinstance(data, type):
        return "batch"
    what = "missing" if data is None else f"a {_name_of(data)}"
    raise WorkloadError(f"'data' is {what}", hint=_FORMS)


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, torch.optim.Optimizer)


def _name_of(value: Any) -> str:
    return f"class, {value.__name__}" if isinstance(value, type) else type(value).__name__

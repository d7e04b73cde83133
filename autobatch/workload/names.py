"""From the names in a namespace to a ``Workload``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from autobatch.errors import WorkloadError
from autobatch.workload.contract import CONTRACT_NAMES, Workload
from autobatch.workload.files import Target
from autobatch.workload.roles import Roles
from autobatch.workload.scripts import advise_on_script
from autobatch.workload.training_watch import TrainingStopped, TrainingWatch
from autobatch.workload.user_code import calling_user_code

_TENSOR_PAIRS = (
    ("x", "y"), ("X", "y"), ("X", "Y"), ("x_train", "y_train"), ("X_train", "y_train"),
    ("X_train", "Y_train"), ("train_x", "train_y"), ("inputs", "targets"), ("inputs", "labels"),
    ("features", "labels"), ("features", "targets"), ("images", "labels"),
)  # fmt: skip
_FUNCTIONS = (
    "batch", "loss", "training_step", "optimizer_step", "collate_fn", "length", "evaluate",
    "parallelize",
)  # fmt: skip
_IS_SCRIPT = "it is a script, which trains when it is run"
_EXAMPLE = "model = torch.nn.Linear(10, 1)\ndataset = [(torch.randn(10), torch.randn(1))] * 1000"


def find_workload(target: Target, namespace: Mapping[str, Any]) -> tuple[Workload, list[str]]:
    """Read a workload from what a target defines.

    Args:
        target: What the user named.
        namespace: The names that its file defines.

    Returns:
        The workload, and a sentence for each thing that had to be assumed.

    Raises:
        WorkloadError: If something is missing; says what was found and gives an example.
    """
    if target.name:
        if target.name not in namespace:
            raise WorkloadError(
                f"target {target.text!r}: there is no {target.name!r}; found: "
                f"{_describe_names(namespace)}",
                hint="name one of those, or none",
            )
        named = _call_if_function(namespace[target.name], target)
        if isinstance(named, Workload):
            return _checked(target, named), []
        return _from_names(target, {**namespace, "model": named})
    if "workload" in namespace:
        workload = _call_if_function(namespace["workload"], target)
        if not isinstance(workload, Workload):
            raise WorkloadError(
                f"target {target.text!r}: 'workload' is a {type(workload).__name__}",
                hint="make it an autobatch.Workload, or a function that returns one",
            )
        return _checked(target, workload), []
    return _from_names(target, namespace)


def build_model(workload: Workload, target_text: str) -> nn.Module:
    """Make the workload's module, unless it is one already.

    Args:
        workload: Has the module, or a class or function that makes it.
        target_text: The target as the user wrote it, for messages.

    Raises:
        WorkloadError: If that raises, or makes something else.
    """
    model: object = workload.model
    if not isinstance(model, nn.Module) and callable(model):
        hint = "'model' is called without arguments: give each a default"
        with calling_user_code(f"target {target_text!r}: making the model failed", hint):
            model = model()
    if not isinstance(model, nn.Module):
        raise WorkloadError(
            f"target {target_text!r}: 'model' is a {type(model).__name__}, not a torch.nn.Module",
            hint="make it a module, or a class or function that returns one",
        )
    return model


def lacks_data(workload: Workload) -> bool:
    """Whether a workload says nothing of its data."""
    sources = (workload.train_loader, workload.dataset, workload.batch, workload.sample)
    return all(source is None for source in sources)


def missing_data_error(
    target: Target, workload: Workload, namespace: Mapping[str, Any]
) -> WorkloadError:
    """Make the error for a workload that has a model but no data.

    Args:
        target: What the user named.
        workload: What was found in it.
        namespace: The names that its file defines.
    """
    given = {name: getattr(workload, name) for name in CONTRACT_NAMES}
    found = [
        f"{name} (the class {value.__name__})" if isinstance(value, type) else name
        for name, value in given.items()
        if value is not None
    ]
    message = f"target {target.text!r}: found {', '.join(found)}; missing: data, one of "
    message += "train_loader, dataset, batch(batch_size), sample"
    if hint := advise_on_script(target):
        return WorkloadError(f"{message}; {_IS_SCRIPT}", hint=hint)
    if line := _find_tensors_line(namespace):
        return WorkloadError(message, hint=f"add the line: {line}")
    return WorkloadError(
        f"{message}. For example:\n\n{_EXAMPLE}",
        hint=f"add one, or describe a sample: {target.text},input=3x224x224,classes=1000",
    )


def _missing_model_error(target: Target, namespace: Mapping[str, Any]) -> WorkloadError:
    message = f"target {target.text!r}: found {_describe_names(namespace)}; missing: a model"
    if hint := advise_on_script(target):
        return WorkloadError(f"{message}; {_IS_SCRIPT}", hint=hint)
    return WorkloadError(
        f"{message}. For example:\n\n{_EXAMPLE}",
        hint="define model, a torch.nn.Module or a class or function that returns one",
    )


def _find_tensors_line(namespace: Mapping[str, Any]) -> str:
    """The line that makes a dataset of tensors of inputs and targets; empty if there are none."""
    tensors = {
        name: value
        for name, value in namespace.items()
        if isinstance(value, torch.Tensor) and value.dim()
    }
    for name, value in tensors.items():
        other = next((target for x, target in _TENSOR_PAIRS if name == x), "")
        if other in tensors and len(tensors[other]) == len(value):
            return f"dataset = torch.utils.data.TensorDataset({name}, {other})"
    return ""


def _from_names(target: Target, namespace: Mapping[str, Any]) -> tuple[Workload, list[str]]:
    roles = Roles(target, namespace)
    roles.fill()
    if "model" not in roles.found:
        raise _missing_model_error(target, namespace)
    return _checked(target, Workload(**roles.found)), roles.guesses


def _checked(target: Target, workload: Workload) -> Workload:
    for name in _FUNCTIONS:
        value = getattr(workload, name)
        if value is not None and not callable(value):
            raise WorkloadError(
                f"target {target.text!r}: {name!r} is a {type(value).__name__}",
                hint=f"make {name} a function, or give it another name",
            )
    if isinstance(workload.loss, type):
        name = workload.loss.__name__
        raise WorkloadError(
            f"target {target.text!r}: 'loss' is the class {name}, not a loss",
            hint=f"make one of it: loss = {name}()",
        )
    for name in ("batch_size", "lr", "dataset_size"):
        _require_positive_number(target, name, getattr(workload, name))
    return workload


def _require_positive_number(target: Target, name: str, value: object) -> None:
    kinds = (int, float) if name == "lr" else (int,)
    if value is None or (isinstance(value, kinds) and not isinstance(value, bool) and value > 0):
        return
    raise WorkloadError(
        f"target {target.text!r}: {name} = {value!r} is not a number above 0",
        hint=f"correct {name}, or give it another name",
    )


def _call_if_function(value: Any, target: Target) -> Any:
    if isinstance(value, (Workload, nn.Module, type)) or not callable(value):
        return value
    name, advice = getattr(value, "__name__", str(value)), advise_on_script(target)
    hint = advice or "it is called without arguments"
    watch = TrainingWatch(target.location, max_time_s=0.0)
    try:
        with watch, calling_user_code(f"target {target.text!r}: {name}() failed", hint):
            made = value()
    except TrainingStopped:
        raise WorkloadError(
            f"target {target.text!r}: {name}() trains, and was stopped at its second step",
            hint=advice or "name a function that makes the model",
        ) from None
    if made is None:
        raise WorkloadError(
            f"target {target.text!r}: {name}() returned None, not a model",
            hint=advice or "name a function that makes the model",
        )
    return made


def _describe_names(namespace: Mapping[str, Any]) -> str:
    names = [name for name in namespace if not name.startswith("_")]
    shown = names[:12]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "no names") + more

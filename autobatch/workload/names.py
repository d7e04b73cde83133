"""From the names in a namespace to a ``Workload``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from autobatch.errors import WorkloadError
from autobatch.workload.contract import CONTRACT_NAMES, Workload
from autobatch.workload.files import Target, calling_user_code

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
        named = _call_if_workload_function(namespace[target.name], target)
        if isinstance(named, Workload):
            return _checked(target, named), []
        return _from_names(target, {**namespace, "model": named}), []
    if "workload" in namespace:
        workload = _call_if_workload_function(namespace["workload"], target)
        if not isinstance(workload, Workload):
            raise WorkloadError(
                f"target {target.text!r}: 'workload' is a {type(workload).__name__}",
                hint="make it an autobatch.Workload, or a function that returns one",
            )
        return _checked(target, workload), []
    if "model" in namespace:
        return _from_names(target, namespace), []
    name = _find_only_model(target, namespace)
    guess = f"{name} is the model, as the only one in the file"
    return _from_names(target, {**namespace, "model": namespace[name]}), [guess]


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


def missing_data_error(target_text: str, workload: Workload) -> WorkloadError:
    """Make the error for a workload that has a model but no data.

    Args:
        target_text: The target as the user wrote it.
        workload: What was found in it.
    """
    found = [name for name in CONTRACT_NAMES if getattr(workload, name) is not None]
    return WorkloadError(
        f"target {target_text!r}: found {', '.join(found)}; missing: data, one of "
        f"train_loader, dataset, batch(batch_size), sample. For example:\n\n{_EXAMPLE}",
        hint=f"add one, or describe a sample: {target_text},input=3x224x224,classes=1000",
    )


def _from_names(target: Target, namespace: Mapping[str, Any]) -> Workload:
    given = {name: namespace[name] for name in CONTRACT_NAMES if name in namespace}
    for name in ("batch", "length"):
        if not callable(given.get(name)):
            # A leftover of a loop, the last batch, is not a function that makes one.
            given.pop(name, None)
    return _checked(target, Workload(**given))


def _checked(target: Target, workload: Workload) -> Workload:
    for name in ("batch", "loss", "training_step", "collate_fn", "length"):
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


def _call_if_workload_function(value: Any, target: Target) -> Any:
    if isinstance(value, (Workload, nn.Module, type)) or not callable(value):
        return value
    doing = f"target {target.text!r}: {getattr(value, '__name__', value)}() failed"
    with calling_user_code(doing, "it is called without arguments"):
        return value()


def _find_only_model(target: Target, namespace: Mapping[str, Any]) -> str:
    module_name = namespace.get("__name__")
    # A loss is a module too.
    names = [
        name
        for name, value in namespace.items()
        if isinstance(value, nn.Module) and not isinstance(value, nn.modules.loss._Loss)
    ]
    if not names:
        names = [
            name
            for name, value in namespace.items()
            if isinstance(value, type)
            and issubclass(value, nn.Module)
            and value.__module__ == module_name
        ]
    names = [name for name in names if name != "loss"]
    if len(names) == 1:
        return names[0]
    if names:
        raise WorkloadError(
            f"target {target.text!r} has several models: {', '.join(names)}",
            hint=f"name one, such as {target.location}:{names[-1]}",
        )
    raise WorkloadError(
        f"target {target.text!r}: found {_describe_names(namespace)}; missing: a model. "
        f"For example:\n\n{_EXAMPLE}",
        hint="define model, a torch.nn.Module or a class or function that returns one",
    )


def _describe_names(namespace: Mapping[str, Any]) -> str:
    names = [name for name in namespace if not name.startswith("_")]
    shown = names[:12]
    more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
    return (", ".join(shown) or "no names") + more

"""From ``model.py``, ``model.py:name`` or ``package.module:name`` to a namespace.

A target such as ``hf:gpt2`` is only taken apart here; ``catalogues`` has the rest.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from autobatch.errors import WorkloadError, message_of
from autobatch.workload.scripts import advise_on_script
from autobatch.workload.shape import InputShape, read_input, read_shape, split_target
from autobatch.workload.training_watch import TrainingStopped, TrainingWatch
from autobatch.workload.user_code import format_user_traceback

CATALOGUES = ("hf", "timm", "torchvision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A target taken apart.

    Attributes:
        text: As the user wrote it.
        shape: What it says of its model and input.
        location: Path of a file, or dotted name of a module; empty for a catalogue's model.
        is_file: Whether ``location`` is a path.
        name: What follows the colon, or an empty string.
        catalogue: The catalogue that ``name`` is a model of, or an empty string.
    """

    text: str
    shape: InputShape
    location: str
    is_file: bool
    name: str
    catalogue: str = ""


def parse_target(text: str) -> Target:
    """Take a target apart and check that what it names exists, without running it.

    Raises:
        WorkloadError: If there is no such Python file, or the text cannot be a module's name.
        SettingsError: If a value that follows it cannot be used.
    """
    plain, values = split_target(text)
    catalogue, colon, name = plain.partition(":")
    if colon and catalogue in CATALOGUES:
        return Target(
            text=text,
            shape=read_shape(values),
            location="",
            is_file=False,
            name=name,
            catalogue=catalogue,
        )
    location, colon, name = plain.rpartition(":")
    if not colon or os.sep in name or name.endswith(".py"):
        location, name = plain, ""
    # A package in the current folder is a module; any other folder is a mistake to point out.
    is_package = (Path(location) / "__init__.py").is_file() and os.sep not in location
    is_file = location.endswith(".py") or os.sep in location or Path(location).exists()
    is_file = is_file and not is_package
    shape = read_input(values, f"target {text!r}")
    target = Target(text=text, shape=shape, location=location, is_file=is_file, name=name)
    if is_file and not Path(location).is_file():
        what = "is a folder, not a file" if Path(location).is_dir() else "does not exist"
        raise WorkloadError(f"target {text!r}: {location} {what}", hint="check the path")
    if is_file and not location.endswith(".py"):
        raise WorkloadError(
            f"target {text!r}: {location} is not a Python file", hint="give a file that ends in .py"
        )
    if not is_file and not all(part.isidentifier() for part in location.split(".")):
        raise WorkloadError(
            f"target {text!r} is neither a Python file nor the name of a module",
            hint="write it like model.py, model.py:name, package.module:name or hf:gpt2",
        )
    return target


def load_namespace(target: Target, watch: TrainingWatch | None = None) -> Mapping[str, Any]:
    """Run a target's file, or import its module, and return its names.

    A file that trains meanwhile is stopped, and what it defined until then is returned.

    Args:
        target: What the user named.
        watch: Sees any training meanwhile; one of its own if left out.

    Raises:
        WorkloadError: If it cannot be loaded; carries the user's part of the traceback.
    """
    try:
        with watch or TrainingWatch.of(target):
            module = _run_file(target) if target.is_file else _import(target)
    except Exception as error:
        raise _load_error(target, error) from error
    except SystemExit as error:
        raise WorkloadError(
            f"target {target.text!r} called sys.exit({error.code!r}) while it was loaded",
            hint=advise_on_script(target)
            or "put what runs the program under: if __name__ == '__main__'",
        ) from error
    return vars(module)


def _run_file(target: Target) -> ModuleType:
    path = Path(target.location).resolve()
    # A module under its own name, so that what it defines can be pickled by loader workers;
    # but never in the place of one that others import.
    name = path.stem if _is_free(path.stem) else f"_autobatch_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    sys.argv = [str(path)]
    sys.modules[name] = module
    with suppress(TrainingStopped):
        spec.loader.exec_module(module)
    return module


def _is_free(name: str) -> bool:
    return name.isidentifier() and name not in sys.modules and not importlib.util.find_spec(name)


def _import(target: Target) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    return importlib.import_module(target.location)


def _load_error(target: Target, error: Exception) -> WorkloadError:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and not target.is_file and f"{target.location}.".startswith(f"{missing}."):
        return WorkloadError(
            f"target {target.text!r}: there is no module {missing}",
            hint="give the path of a file, or run from the folder that holds the package",
        )
    hint = f"install {missing} here" if missing else f"run python {target.location} to see it"
    if not target.is_file:
        hint = hint.replace("python ", "python -m ")
    return WorkloadError(
        f"target {target.text!r} cannot be loaded: {type(error).__name__}: {message_of(error)}",
        hint=hint,
        user_traceback=format_user_traceback(error),
    )

"""Target files to load, and a process that is as it was when a test that loaded one is over."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from autobatch.errors import WorkloadError
from autobatch.records import Settings
from autobatch.workload.contract import Workload
from autobatch.workload.files import load_namespace, parse_target
from autobatch.workload.names import find_workload
from autobatch.workload.task import TrainingTask, load_task


@pytest.fixture(autouse=True)
def clean_interpreter() -> Iterator[None]:
    """Loading a target changes ``sys`` for good: a worker loads one in its life, tests many."""
    path, argv, modules = [*sys.path], [*sys.argv], {*sys.modules}
    yield
    sys.path[:], sys.argv[:] = path, argv
    for name in {*sys.modules} - modules:
        if getattr(sys.modules[name], "__file__", None) is None or "/pytest-" in str(
            getattr(sys.modules[name], "__file__", "")
        ):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    """Write a file below ``tmp_path`` and return its path as text."""

    def write_file(code: str, name: str = "target_file.py") -> str:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(code))
        return str(file)

    return write_file


@pytest.fixture
def find(write: Callable[..., str]) -> Callable[..., tuple[Workload, list[str]]]:
    """The workload that a file's code describes."""

    def find_in(code: str, name: str = "") -> tuple[Workload, list[str]]:
        path = write("import torch\nfrom torch import nn\n" + textwrap.dedent(code))
        target = parse_target(f"{path}:{name}" if name else path)
        return find_workload(target, load_namespace(target))

    return find_in


@pytest.fixture
def load(write: Callable[..., str]) -> Callable[..., TrainingTask]:
    """The task that a file's code describes."""

    def load_code(code: str, values: str = "", **settings: Any) -> TrainingTask:
        path = write("import torch\nfrom torch import nn\n" + textwrap.dedent(code))
        return load_task(f"{path},{values}" if values else path, Settings(**settings))

    return load_code


@pytest.fixture
def error_of() -> Callable[..., WorkloadError]:
    """The ``WorkloadError`` of a call; every one of them must name something to try."""

    def catch(call: Callable[..., Any], *arguments: Any, **keywords: Any) -> WorkloadError:
        with pytest.raises(WorkloadError) as caught:
            call(*arguments, **keywords)
        assert caught.value.hint
        assert not caught.value.hint.endswith(".")
        return caught.value

    return catch


@pytest.fixture
def linear() -> torch.nn.Module:
    return torch.nn.Linear(4, 3)

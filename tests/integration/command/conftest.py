"""Scripts of strangers, each in a folder of its own with files that must not change."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from autobatch.command.prober import CommandProber
from autobatch.command.settings import CommandSettings
from autobatch.errors import AutobatchError
from autobatch.records import Settings

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with all scripts and results of an earlier run; unchanged afterwards, always."""
    # What wants the cores besides makes two threads wait for each other.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    root = tmp_path / "work"
    shutil.copytree(SCRIPTS, root, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "model.pt").write_text("of an earlier run")
    monkeypatch.chdir(root)
    before, children = digest(root), family()
    yield root
    assert digest(root) == before
    assert family() == children


def digest(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else "folder"
        for path in sorted(root.rglob("*"))
        if "__pycache__" not in path.parts
    }


def family() -> set[int]:
    return {child.pid for child in psutil.Process(os.getpid()).children(recursive=True)}


@pytest.fixture
def probing(folder: Path) -> Callable[..., Any]:
    """Make a prober of a command, which is run by the Python of the tests."""

    @contextmanager
    def make(command: str, **values: Any) -> Iterator[CommandProber]:
        arguments = command.split()
        if arguments[0] == "python":
            arguments[0] = sys.executable
        names = {name for name in values if name in CommandSettings.__dataclass_fields__}
        own = {name: values.pop(name) for name in names}
        with CommandProber(tuple(arguments), Settings(**values), CommandSettings(**own)) as prober:
            yield prober

    return make


@pytest.fixture
def refusal(probing: Callable[..., Any]) -> Callable[..., AutobatchError]:
    """The error with which a command is refused."""

    def refuse(command: str, **values: Any) -> AutobatchError:
        with pytest.raises(AutobatchError) as raised, probing(command, **values) as prober:
            prober.load()
        return raised.value

    return refuse

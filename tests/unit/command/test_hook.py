"""The hook runs in any environment with PyTorch: an older Python, and nothing else installed."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import autobatch.command

HOOK = Path(autobatch.command.__file__).parent / "hook"
FILES = sorted(HOOK.glob("*.py"))


def imported(source: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_needs_the_standard_library_alone(path: Path) -> None:
    source = path.read_text()
    # Files that watch PyTorch are only loaded once it has been imported by the script.
    allowed = {*sys.stdlib_module_names, "torch"}
    assert imported(source) <= allowed
    ast.parse(source, feature_version=(3, 9))


def test_what_every_process_loads_does_not_import_pytorch() -> None:
    for name in ("sitecustomize.py", "files.py"):
        assert "torch" not in imported((HOOK / name).read_text())

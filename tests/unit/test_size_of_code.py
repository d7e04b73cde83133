"""Files and functions stay small enough to be read in one go."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import autobatch

PACKAGE = Path(autobatch.__file__).parent
MAX_FILE_LINES = 350
MAX_FUNCTION_LINES = 60


def find_long(path: Path, source: str) -> Iterator[str]:
    if len(source.splitlines()) > MAX_FILE_LINES:
        yield f"{path}: {len(source.splitlines())} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno} {node.name}: {length} lines"


def test_no_file_and_no_function_is_too_long() -> None:
    sources = {path: path.read_text() for path in PACKAGE.rglob("*.py")}
    assert [each for path, source in sources.items() for each in find_long(path, source)] == []


def test_a_long_function_is_found() -> None:
    source = "def f():\n" + "    pass\n" * MAX_FUNCTION_LINES
    assert list(find_long(Path("long.py"), source)) == ["long.py:1 f: 61 lines"]

"""docs/architecture.md says what the code does: its example is run, its rooms and links exist."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
TEXT = (DOCS / "architecture.md").read_text()


def test_the_example_prints_what_the_page_shows() -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    [shown] = re.findall(r"^```text\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "architecture.md", "exec"), {})
    expected, actual = _split_numbers(shown), _split_numbers(printed.getvalue())
    assert actual[0] == expected[0], printed.getvalue()
    # Probabilities come from random samples, which differ a little between builds of LAPACK.
    assert actual[1] == pytest.approx(expected[1], rel=0.01, abs=0.04), printed.getvalue()


def _split_numbers(text: str) -> tuple[list[str], list[float]]:
    """The words of a printed table, and its numbers."""
    numbers = [float(each.replace(",", "")) for each in _NUMBER.findall(text)]
    return _NUMBER.sub("#", text).split(), numbers


def test_the_table_of_rooms_names_every_room() -> None:
    rows = re.findall(r"^\| (`.*?) \|", TEXT.partition("## One trial")[0], re.MULTILINE)
    named = {name.strip("`/") for row in rows for name in re.findall(r"`[\w/]+`", row)}
    package = ROOT / "autobatch"
    rooms = {path.stem for path in package.iterdir() if not path.name.startswith((".", "_"))}
    assert named == rooms - {"py"}


def test_its_links_lead_somewhere() -> None:
    names = ("docs/architecture.md", "README.md", "CONTRIBUTING.md", "STYLE.md")
    for path in map(ROOT.joinpath, names):
        for target in re.findall(r"\]\(([\w./]+)[#)]", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name}: {target}"

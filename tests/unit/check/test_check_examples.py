"""What the page on CI and the workflow tell a person to type is understood."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

from autobatch.check.cli import check, to_check_settings
from autobatch.errors import AutobatchError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "ci.md").read_text().replace("\\\n", " ")
WORKFLOW = (ROOT / "examples" / "ci" / "check.yml").read_text()
COMMANDS = sorted(
    {
        line.strip().removeprefix("$ ").removeprefix("autobatch check ")
        for line in [*PAGE.splitlines(), *WORKFLOW.splitlines()]
        if line.strip().removeprefix("$ ").startswith("autobatch check ")
    }
)


def parse(command: str) -> dict[str, object]:
    return check.make_context("check", shlex.split(command)).params


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_that_is_shown_can_be_typed(command: str) -> None:
    to_check_settings(parse(command))


def test_the_workflow_makes_a_baseline_and_compares_with_it() -> None:
    assert len(COMMANDS) >= 4
    assert any("--save-baseline" in each for each in COMMANDS)
    assert any("--junit" in each for each in COMMANDS)


def test_the_options_that_are_listed_exist() -> None:
    known = {option for parameter in check.params for option in parameter.opts}
    assert set(re.findall(r"--[a-z][a-z-]+", PAGE)) <= known | {"--junit-xml"}


def test_the_table_of_options_is_read_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = PAGE.partition("```toml\n")[2].partition("```")[0]
    assert tomllib.loads(text)["tool"]["autobatch"]["check"]
    (tmp_path / "pyproject.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    values = parse("")
    assert values["target"] == "model.py"
    assert values["batch_size"] == 64
    assert values["max_memory_bytes"] == 10 * 2**30
    assert values["baseline"] == "baseline.json"


def test_a_command_that_cannot_be_typed_is_found() -> None:
    with pytest.raises(AutobatchError, match="must be a memory size with its unit, got 'lots'"):
        parse("model.py --max-memory lots")

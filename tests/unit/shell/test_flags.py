"""The command line speaks of flags where the library speaks of keywords."""

from __future__ import annotations

import re

import pytest
from click.testing import CliRunner

from autobatch.cli import command, run
from autobatch.shell.flags import to_flags

FLAGS = {"--memory-limit", "--goal", "--strict", "--lr"}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("raise `memory_limit`", "raise --memory-limit"),
        ("use `goal=memory` or `goal='throughput'`", "use --goal memory or --goal throughput"),
        ("`strict=True` fails it", "--strict fails it"),
        ("`max_batch_size` and `lr`", "`max_batch_size` and --lr"),
        (
            "define `model`, then run `autobatch --help`",
            "define `model`, then run `autobatch --help`",
        ),
    ],
)
def test_what_is_an_option_becomes_a_flag(text: str, written: str) -> None:
    assert to_flags(text, FLAGS) == written


def test_an_error_of_the_library_names_flags_on_the_command_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["probe", "model.py", "--min-batch-size", "9", "--max-batch-size", "8"]) == 2
    shown = capsys.readouterr().err
    assert "Error: --max-batch-size must be at least --min-batch-size 9, got 8" in shown
    assert "Hint: raise --max-batch-size" in shown


def test_a_text_that_cannot_be_read_is_an_error_of_its_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["probe", "model.py", "--env", "FOO"]) == 2
    assert "Error: --env must be NAME=VALUE, got 'FOO'" in capsys.readouterr().err


def test_an_unknown_option_says_where_the_known_ones_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["probe", "--nosuch"]) == 2
    assert "run `autobatch probe --help` for the commands and options" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["probe", "compare", "check"])
def test_help_lists_options_under_headings(name: str) -> None:
    shown = CliRunner().invoke(command.commands[name], ["--help"]).output
    headings = re.findall(r"^([A-Z][^:\n]+):$", shown, flags=re.MULTILINE)
    assert {"Your training", "Output"} <= set(headings)
    assert headings[-1] == "Other options"
    assert "`lr`" not in shown


def test_help_says_the_default_time_limit_and_how_to_lift_it() -> None:
    shown = " ".join(CliRunner().invoke(command.commands["probe"], ["--help"]).output.split())
    assert "none lifts the limit. [default: 2min]" in shown

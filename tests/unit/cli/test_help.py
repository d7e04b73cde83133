"""Help: sentences whole, options under headings, and nothing that is wider than a terminal."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from autobatch.cli import command

NAMES = ("", *command.commands)


def help_of(name: str, width: int = 80) -> str:
    done = CliRunner().invoke(command, [*name.split(), "--help"], terminal_width=width)
    assert done.exit_code == 0
    return done.output


@pytest.mark.parametrize("name", NAMES)
def test_no_sentence_is_cut_short_and_no_line_is_too_wide(name: str) -> None:
    for width in (80, 100):
        _, *lines = help_of(name, width).splitlines()
        assert not [line for line in lines if line.endswith("...")]
        # Examples are there to be copied, and so are not wrapped.
        prose = [line for line in lines if not line.startswith("    autobatch ")]
        assert max(map(len, prose)) <= width


@pytest.mark.parametrize("name", ["probe", "check", "compare"])
def test_every_option_stands_under_a_heading_and_only_help_is_left_over(name: str) -> None:
    text = help_of(name)
    assert "\nOptions:" not in text
    _, _, others = text.partition("\nOther options:\n")
    assert others.split()[:2] == ["-h,", "--help"]
    assert others.count("--") == 1
    headings = [line for line in text.splitlines() if line.endswith(":") and line[0] != " "]
    assert len(headings) >= 4
    options = [each for each in command.commands[name].params if isinstance(each, click.Option)]
    assert all(max(each.opts, key=len) in text for each in options)


def test_each_command_is_told_in_one_sentence() -> None:
    for each in command.commands.values():
        assert each.get_short_help_str(limit=60).endswith(".")
        assert not each.get_short_help_str(limit=60).endswith("...")

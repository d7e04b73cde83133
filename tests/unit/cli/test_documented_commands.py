"""Every command that the README and the documentation show can be typed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from fixtures.pages import ROOT, find_lines

from autobatch.cli import command as autobatch

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "docs" / "llms.txt"]


def find_commands(text: str) -> Iterator[str]:
    """Commands in blocks of a shell, after a prompt, and in running text.

    Args:
        text: A page.
    """
    lines = find_lines(text)
    lines += re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    lines += re.findall(r"`(autobatch [^`]+)`", text)
    for line in lines:
        for part in re.split(r"&&|\|", re.sub(r"\s#.*", "", line)):
            found = re.search(r"(?:^|\s)autobatch (.*)", part)
            if found is not None:
                yield found[1].strip()


COMMANDS = sorted({each for path in PAGES for each in find_commands(path.read_text())})


def parse(line: str) -> None:
    """Parse as a shell and the command line would.

    Args:
        line: What follows ``autobatch``.

    Raises:
        click.UsageError: If it cannot be typed.
    """
    name, *arguments = shlex.split(line)
    if name in ("--help", "-h", "--version"):
        return
    found = autobatch.commands.get(name)
    if found is None:
        raise click.UsageError(f"No such command '{name}'.")
    if arguments and not {"--help", "-h"} & set(arguments):  # a name alone is spoken of
        found.make_context(name, arguments)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_that_is_shown_can_be_typed(line: str) -> None:
    if "..." not in line:
        parse(line)


def test_commands_are_found_wherever_they_stand() -> None:
    text = (
        "`autobatch show x.json`\n```sh\na && autobatch probe m.py # why\n```\n$ autobatch check m"
    )
    assert list(find_commands(text)) == ["probe m.py", "check m", "show x.json"]
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("line", ["prob model.py", "probe model.py --batchsize 3", "check m -x"])
def test_a_command_that_cannot_be_typed_is_found(line: str) -> None:
    with pytest.raises(click.UsageError, match="No such"):
        parse(line)


def test_every_command_has_its_help_in_the_reference() -> None:
    text = (ROOT / "docs" / "reference" / "commands.md").read_text()
    assert set(re.findall(r"^@help (\w+)$", text, re.MULTILINE)) == set(autobatch.commands)

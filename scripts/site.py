"""A hook of the documentation site: what cannot be written down in its pages."""

from __future__ import annotations

import re
from typing import Any

import click

from autobatch.cli import command

_TO_SOURCE = re.compile(
    r"\[([^\]]+)\]\(\.\./(?:autobatch|scripts|tests|examples|CONTRIBUTING)\b[^)]*\)"
)
_HELP = re.compile(r"^@help *(\w*)$", re.MULTILINE)
_WIDTH = 80
_INLINE_CODE = re.compile(r"<code>[^<]*</code>")
_FLAG = re.compile(r"--[\w-]+")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What mkdocs calls with each page before it is rendered.

    A link to a source file is a link in a checkout only, and ``@help probe`` stands for the help of
    that command.

    Args:
        markdown: The page.
    """
    return _HELP.sub(lambda found: _help_of(found[1]), _TO_SOURCE.sub(r"\1", markdown))


def on_page_content(html: str, **_: Any) -> str:
    """What mkdocs calls with each page once it is HTML: no line breaks within an option.

    Args:
        html: The page.
    """
    whole = r'<span style="white-space: nowrap">\g<0></span>'
    return _INLINE_CODE.sub(lambda code: _FLAG.sub(whole, code[0]), html)


def _help_of(name: str) -> str:
    found: click.Command = command.commands[name] if name else command
    shown = f"autobatch {name}".strip()
    context = click.Context(found, info_name=shown, max_content_width=_WIDTH, terminal_width=_WIDTH)
    return f"```text\n{found.get_help(context)}\n```"

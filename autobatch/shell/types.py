"""Kinds of values as click parameter types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from autobatch.records import kinds
from autobatch.records.kinds import Kind

# Generic for type checkers, and in recent versions of click only at run time.
if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType


class Reads(_ParamType):
    """A value that a kind of option reads."""

    def __init__(self, kind: Kind) -> None:
        self.name = kind.metavar.lower()
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text; name the option if that fails."""
        if not isinstance(value, str):
            return value
        flag = max(param.opts, key=len) if param is not None else self.name
        return self._kind.read(flag.lstrip("-").replace("-", "_"), value)


def _parse_version(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)*", text):
        raise ValueError
    return text


def _parse_not_negative(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


BYTES = Reads(kinds.BYTES)
FRACTION = Reads(kinds.FRACTION)
SECONDS = Reads(kinds.SECONDS)
COUNT = Reads(kinds.COUNT)
RATE = Reads(kinds.RATE)
WHOLE = Reads(
    Kind(_parse_not_negative, "a whole number, at least 0", "a number such as 0 or 4", "N")
)
VERSION = Reads(Kind(_parse_version, "a version", "numbers with points, such as 550.54", "VERSION"))

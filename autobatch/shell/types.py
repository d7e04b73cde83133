"""Option values with units, as click parameter types."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from autobatch.errors import SettingsError
from autobatch.units import parse_bytes, parse_fraction, parse_grid, parse_seconds, parse_shape

# Generic for type checkers, and in recent versions of click only at run time.
if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType


class Parsed(_ParamType):
    """A value read by a function that raises ``SettingsError`` for what it cannot read."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text; name the option if that fails."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except SettingsError as error:
            option = max(param.opts, key=len) if param is not None else self.name
            raise SettingsError(f"{option}: {error}", hint=error.hint) from None


def parse_variable(text: str) -> tuple[str, str]:
    """Read ``NAME=VALUE``."""
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise SettingsError(f"{text!r} sets no variable", hint="write it like OMP_NUM_THREADS=4")
    return name, value


def parse_override(text: str) -> tuple[str, str]:
    """Read ``KEY=VALUE``."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip().isidentifier():
        raise SettingsError(f"{text!r} sets no key", hint="write it like n_layer=6")
    return key.strip(), value.strip()


def parse_count(text: str) -> int:
    """Read a whole number above 0."""
    if not re.fullmatch(r"\d+", text) or int(text) == 0:
        raise SettingsError(f"{text!r} is not a whole number above 0", hint="write it like 64")
    return int(text)


def parse_rate(text: str) -> float:
    """Read a number above 0, such as a learning rate."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise SettingsError(f"{text!r} is not a number above 0", hint="write it like 0.1 or 3e-4")
    return value


def parse_whole(text: str) -> int:
    """Read a whole number, 0 included."""
    if not re.fullmatch(r"\d+", text):
        raise SettingsError(f"{text!r} is not a whole number", hint="write it like 0 or 4")
    return int(text)


def parse_version(text: str) -> str:
    """Read a version, numbers with points between them, such as ``550.54``."""
    if not re.fullmatch(r"\d+(\.\d+)*", text):
        raise SettingsError(f"{text!r} is not a version", hint="write it like 550 or 550.54")
    return text


def parse_batch_sizes(text: str) -> tuple[int | None, ...]:
    """Read ``1,32,256,full``; ``full`` is ``None``."""
    parts = [part.strip() for part in text.split(",")]
    return tuple(None if part == "full" else parse_count(part) for part in parts)


def parse_number(text: str) -> float:
    """Read any finite number, such as a loss."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise SettingsError(f"{text!r} is not a number", hint="write it like 0.35")
    return value


BYTES = Parsed("size", parse_bytes)
FRACTION = Parsed("share", parse_fraction)
SECONDS = Parsed("time", parse_seconds)
SHAPE = Parsed("shape", parse_shape)
GRID = Parsed("grid", parse_grid)
VARIABLE = Parsed("name=value", parse_variable)
OVERRIDE = Parsed("key=value", parse_override)
COUNT = Parsed("count", parse_count)
RATE = Parsed("number", parse_rate)
WHOLE = Parsed("count", parse_whole)
VERSION = Parsed("version", parse_version)
BATCH_SIZES = Parsed("sizes", parse_batch_sizes)
NUMBER = Parsed("number", parse_number)

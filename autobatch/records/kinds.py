"""Kinds of values that options take: from a value, or its text, to the value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from autobatch import units
from autobatch.errors import SettingsError

_FORMATS = ("fp32", "tf32", "bf16", "fp16", "fp8")


@dataclass(frozen=True, slots=True)
class Kind:
    """The kind of value that an option takes.

    Attributes:
        parse: From a value, or the text that stands for it, to the value; raises ``ValueError``
            or ``TypeError`` for any other. It leaves a value as it is.
        expected: What it must be, for messages.
        example: Values that it takes, for hints.
        metavar: What stands for it in help.
        show: From a value to the text that stands for it.
        takes_none: Whether ``None`` is a value, and does not stand for the default.
        join: What several values come to, where the command line takes it several times.
        correct: From a text that it does not take to the one that was probably meant, or to an
            empty one.
    """

    parse: Callable[[Any], Any]
    expected: str
    example: str
    metavar: str = ""
    show: Callable[[Any], str] = str
    takes_none: bool = False
    join: Callable[[Iterable[Any]], Any] | None = None
    correct: Callable[[str], str] = lambda text: ""

    @property
    def is_flag(self) -> bool:
        """Whether it is said by being there."""
        return self.parse is _parse_flag

    def read(self, name: str, value: Any) -> Any:
        """The value that ``value`` is, or stands for.

        Args:
            name: Of the option, for the message.
            value: As a caller passed it or a user typed it.

        Raises:
            SettingsError: If it is of another kind; repeats it.
        """
        try:
            return self.parse(value)
        except (ValueError, TypeError, OverflowError):
            meant = self.correct(str(value))
            raise SettingsError(
                f"`{name}` must be {self.expected}, got {value!r}",
                hint=f"did you mean {meant}?" if meant else f"use {self.example}",
            ) from None


def _parse_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _parse_whole(value: Any) -> int:
    return int(str(value))  # of a boolean or a fraction the text is no whole number


def _parse_not_negative(value: Any) -> int:
    number = _parse_whole(value)
    if number < 0:
        raise ValueError
    return number


def _parse_version(value: Any) -> str:
    if not re.fullmatch(r"\d+(\.\d+)*", str(value)):
        raise ValueError
    return str(value)


def _parse_formats(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    if not set(names) <= set(_FORMATS):
        raise ValueError
    return names


def _parse_number(value: Any) -> float:
    number = float(str(value))
    if not math.isfinite(number):
        raise ValueError
    return number


def _above_zero(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def parse_above_zero(value: Any) -> Any:
        number = parse(value)
        if not number > 0:
            raise ValueError
        return number

    return parse_above_zero


def _parse_bytes(value: Any) -> int:
    return units.parse_bytes(value) if isinstance(value, str) else int(COUNT.parse(value))


def _parse_bandwidth(value: Any) -> int:
    if not isinstance(value, str):
        return int(COUNT.parse(value))
    size, per, second = value.rpartition("/")
    if not per or second.strip() != "s":
        raise ValueError
    return units.parse_bytes(size)


def _correct_bandwidth(text: str) -> str:
    try:
        units.parse_bytes(text)
    except ValueError:
        return ""
    return f"{text}/s"


def _parse_seconds(value: Any) -> float:
    return units.parse_seconds(value) if isinstance(value, str) else float(RATE.parse(value))


def _parse_time_limit(value: Any) -> float | None:
    return None if value in (None, "none") else _parse_seconds(value)


def _parse_grid(value: Any) -> int | None:
    if isinstance(value, str):
        return units.parse_grid(value)
    return None if value is None else int(COUNT.parse(value))


def _parse_variables(value: Any) -> Any:
    if not isinstance(value, str):
        return dict(value)
    name, equals, text = value.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError
    return {name: text}


def _parse_batch_sizes(value: Any) -> tuple[int | None, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not parts:
        raise ValueError
    return tuple(
        None if part is None or str(part).strip() == "full" else COUNT.parse(part) for part in parts
    )


def _show_seconds(seconds: float | None) -> str:
    if seconds is None:
        return "none"
    return f"{seconds / 60:g}min" if seconds % 60 == 0 else f"{seconds:g}s"


def choice_of(members: type[Enum]) -> Kind:
    """One of the members of an enum."""
    values = [member.value for member in members]
    return Kind(
        members,
        f"one of {', '.join(map(repr, values))}",
        f"{values[0]!r}, for example",
        f"[{'|'.join(values)}]",
        show=lambda member: str(member.value),
    )


# fmt: off
FLAG = Kind(_parse_flag, "True or False", "True or False")
TEXT = Kind(str, "text", "text", "NAME")
BYTES = Kind(_parse_bytes, "a memory size with its unit", "a size such as 8GiB or 500MB",
             "SIZE", correct=units.add_unit)
BANDWIDTH = Kind(_parse_bandwidth, "a bandwidth with its unit", "one such as 10GiB/s",
                 "SIZE/s", correct=_correct_bandwidth)
FRACTION = Kind(lambda value: units.parse_fraction(str(value)), "at least 0 % and below 100 %",
                "10% or 0.1, for example", "PERCENT", show=lambda share: f"{100 * share:g}%")
WHOLE = Kind(_parse_not_negative, "a whole number, at least 0", "a number such as 0 or 4", "N")
COUNT = Kind(_above_zero(_parse_whole), "a whole number above 0", "a number such as 64", "N")
INTEGER = Kind(_parse_whole, "a whole number", "a number such as 0 or 4", "N")
NUMBER = Kind(_parse_number, "a number", "a number such as 0.35", "NUMBER")
RATE = Kind(_above_zero(_parse_number), "a number above 0", "a number such as 0.1", "RATE")
SECONDS = Kind(_parse_seconds, "a time above 0", "a time such as 90s or 5min", "TIME",
               show=_show_seconds)
TIME_LIMIT = Kind(_parse_time_limit, "a time above 0, or none",
                  "a time such as 90s or 5min, or none", "TIME",
                  show=_show_seconds, takes_none=True)
GRID = Kind(_parse_grid, "'powers' or 'multiple:N'", "multiple:8, for example", "GRID",
            show=lambda size: f"multiple:{size}" if size else "powers", takes_none=True)
VARIABLES = Kind(_parse_variables, "NAME=VALUE", "OMP_NUM_THREADS=4, for example", "NAME=VALUE",
                 show=lambda values: " ".join(map("=".join, values.items())),
                 join=lambda values: {name: each[name] for each in values for name in each})
FORMATS = Kind(_parse_formats, f"one or more of {', '.join(map(repr, _FORMATS))}",
               "'bf16', for example",
               f"[{'|'.join(_FORMATS)}]", show=",".join,
               join=lambda values: tuple(name for each in values for name in each))
VERSION = Kind(_parse_version, "a version", "numbers with points, such as 550.54", "VERSION")
BATCH_SIZES = Kind(_parse_batch_sizes, "batch sizes or 'full', separated by commas",
                   "1,32,256,full, for example", "SIZES",
                   show=lambda sizes: ",".join(str(size or "full") for size in sizes))
# fmt: on

"""Options: what the command line, keyword arguments, help and messages are made of.

A record of settings says each of its options once, as a field:

    max_batch_size: int | None = option(None, COUNT, "Largest size to try.", group="Sizes")

The keyword of an option is the field's name without its unit (``memory_limit`` for
``memory_limit_bytes``), and its flag is the keyword with dashes (``--memory-limit``). Messages and
help name an option by its keyword, between backticks: `memory_limit`, `goal=memory`. The command
line turns those into flags.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from enum import Enum
from functools import cache
from typing import Any

from autobatch import units
from autobatch.errors import SettingsError

_UNIT = re.compile(r"_(bytes|fraction|s)$")


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
        is_repeated: Whether the command line takes it several times.
    """

    parse: Callable[[Any], Any]
    expected: str
    example: str
    metavar: str = ""
    show: Callable[[Any], str] = str
    takes_none: bool = False
    is_repeated: bool = False

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
            raise SettingsError(
                f"`{name}` must be {self.expected}, got {value!r}", hint=f"use {self.example}"
            ) from None


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a record of settings.

    Attributes:
        name: The keyword.
        field: The field's name.
        default: Its default, as the field has it.
        kind: What it takes.
        help: What it does, in sentences.
        group: The heading that it stands under in help.
        metavar: What stands for its value in help.
        in_code: Whether it makes sense for objects that the caller holds.
    """

    name: str
    field: str
    default: Any
    kind: Kind
    help: str
    group: str
    metavar: str
    in_code: bool

    @property
    def flag(self) -> str:
        """As it is typed."""
        return "--" + self.name.replace("_", "-")

    @property
    def default_text(self) -> str:
        """The default as a user would write it; empty where it is to have no value."""
        is_none = self.default is None and not self.kind.takes_none
        return "" if is_none or self.kind.is_flag else self.kind.show(self.default)


def option(
    default: Any,
    kind: Kind,
    help: str,
    *,
    group: str,
    name: str = "",
    metavar: str = "",
    in_code: bool = True,
) -> Any:
    """A field of a record of settings that is an option; ``Option`` describes the arguments."""
    said = (name, kind, help, group, metavar or kind.metavar, in_code)
    if default == {}:
        return field(default_factory=dict, metadata={"option": said})
    return field(default=default, metadata={"option": said})


@cache
def options_of(record: type) -> dict[str, Option]:
    """The options of a record of settings by keyword, in the order of its fields."""
    found = {}
    for item in fields(record):
        if "option" in item.metadata:
            name, *rest = item.metadata["option"]
            name = name or _UNIT.sub("", item.name)
            default = {} if item.default is MISSING else item.default
            found[name] = Option(name, item.name, default, *rest)
    return found


def check_options(settings: Any) -> None:
    """Refuse settings of which one has a value that its option does not take.

    Raises:
        SettingsError: Names the option and repeats the value.
    """
    record: type = type(settings)
    for each in options_of(record).values():
        value = getattr(settings, each.field)
        if value is not None or each.kind.takes_none:
            each.kind.read(each.name, value)


def read_keywords(record: type, keywords: Mapping[str, Any], *, caller: str) -> dict[str, Any]:
    """Values for the fields of a record of settings from keyword arguments.

    Args:
        record: The record.
        keywords: Values, or the texts that stand for them. ``None`` stands for the default,
            unless the option takes it.
        caller: Whose arguments they are, for the message.

    Raises:
        TypeError: If there is no such option.
        SettingsError: If a value cannot be used; repeats it.
    """
    known = {name: each for name, each in options_of(record).items() if each.in_code}
    values = {}
    for name, value in keywords.items():
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise TypeError(f"{caller}() has no option {name!r}{hint}")
        each = known[name]
        if value is not None or each.kind.takes_none:
            values[each.field] = each.kind.read(name, value)
    return values


def _parse_flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _parse_whole(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    return int(value) if isinstance(value, str) else operator.index(value)


def _parse_number(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(number := float(value)):
        raise TypeError
    return number


def _above_zero(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def parse_above_zero(value: Any) -> Any:
        number = parse(value)
        if not number > 0:
            raise ValueError
        return number

    return parse_above_zero


def _or_text(
    parse_text: Callable[[str], Any], parse_value: Callable[[Any], Any]
) -> Callable[[Any], Any]:
    return lambda value: parse_text(value) if isinstance(value, str) else parse_value(value)


def _parse_fraction(value: Any) -> float:
    number = _parse_number(value)
    if not 0 <= number < 1:
        raise ValueError
    return number


def _parse_limit(value: Any) -> float | None:
    if value is None or value == "none":
        return None
    seconds: float = SECONDS.parse(value)
    return seconds


def _parse_variables(value: Any) -> Any:
    if not isinstance(value, str):
        return dict(value)
    name, equals, text = value.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise ValueError
    return name, text


def _parse_batch_sizes(value: Any) -> tuple[int | None, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not parts:
        raise ValueError
    return tuple(
        None if part is None or str(part).strip() == "full" else COUNT.parse(part) for part in parts
    )


def _show_fraction(fraction: float) -> str:
    return f"{100 * fraction:g}%"


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


FLAG = Kind(_parse_flag, "True or False", "True or False")
TEXT = Kind(str, "text", "text", "NAME")
BYTES = Kind(
    _or_text(units.parse_bytes, _above_zero(_parse_whole)),
    "a memory size above 0",
    "a size such as 8GiB or 500MB",
    "SIZE",
)
FRACTION = Kind(
    _or_text(units.parse_fraction, _parse_fraction),
    "at least 0 % and below 100 %",
    "10% or 0.1, for example",
    "PERCENT",
    show=_show_fraction,
)
SECONDS = Kind(
    _or_text(units.parse_seconds, _above_zero(_parse_number)),
    "a time above 0",
    "a time such as 90s or 5min",
    "TIME",
    show=_show_seconds,
)
TIME_LIMIT = Kind(
    _parse_limit,
    "a time above 0, or none",
    "a time such as 90s or 5min, or none",
    "TIME",
    show=_show_seconds,
    takes_none=True,
)
COUNT = Kind(_above_zero(_parse_whole), "a whole number above 0", "a number such as 64", "N")
INTEGER = Kind(_parse_whole, "a whole number", "a number such as 0 or 4", "N")
NUMBER = Kind(_parse_number, "a number", "a number such as 0.35", metavar="NUMBER")
RATE = Kind(_above_zero(_parse_number), "a number above 0", "a number such as 0.1", "RATE")
GRID = Kind(
    _or_text(units.parse_grid, lambda value: None if value is None else COUNT.parse(value)),
    "'powers' or 'multiple:N'",
    "multiple:8, for example",
    "GRID",
    show=lambda multiple: f"multiple:{multiple}" if multiple else "powers",
    takes_none=True,
)
VARIABLES = Kind(
    _parse_variables,
    "NAME=VALUE",
    "OMP_NUM_THREADS=4, for example",
    "NAME=VALUE",
    show=lambda variables: " ".join(f"{name}={value}" for name, value in variables.items()),
    is_repeated=True,
)
BATCH_SIZES = Kind(
    _parse_batch_sizes,
    "batch sizes or 'full', separated by commas",
    "1,32,256,full, for example",
    "SIZES",
    show=lambda sizes: ",".join("full" if size is None else str(size) for size in sizes),
)

"""Options, from which the command line, keyword arguments, help and messages derive.

A settings record defines each of its options once, as a field:

    max_batch_size: int | None = option(None, COUNT, "Largest size to try.", group="Sizes")

The keyword of an option is the field's name without its unit (``memory_limit`` for
``memory_limit_bytes``), and its flag is the keyword with dashes (``--memory-limit``). Messages and
help name an option by its keyword, between backticks: `memory_limit`, `goal=memory`. The command
line turns those into flags.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any

from autobatch.records.kinds import Kind

_UNIT = re.compile(r"_(bytes|fraction|s)$")


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
        metavar: Placeholder of its value in help.
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
        """The default as a user would write it; empty if the default is no value."""
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
    """Make a field of a settings record that is an option.

    Args:
        default: The default; ``{}`` for an option that is repeated.
        kind: What values it takes.
        help: What it does, in sentences.
        group: Heading that it stands under in help.
        name: The keyword, if it is not the field's name without its unit.
        metavar: Placeholder of the value in help, if it is not the kind's.
        in_code: Whether it makes sense for objects that the caller holds.
    """
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
    """Reject settings with a value that the option does not take.

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
        caller: The function that takes them, for the message.

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

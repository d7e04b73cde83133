"""Options from a TOML file; those on the command line take precedence."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from autobatch.errors import SettingsError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_PROJECT_FILE = "pyproject.toml"
_TABLE = ("tool", "autobatch", "check")
# What is said at the command line or not at all.
_NEVER = frozenset({"requirements", "force", "json", "quiet", "verbose", "help"})


def read_requirements(context: click.Context, parameter: click.Parameter, path: str | None) -> None:
    """Callback of ``--requirements``: make what the file says the defaults of the command.

    Raises:
        SettingsError: If the file cannot be read, or says what the command does not know.
    """
    if path is None and not Path(_PROJECT_FILE).is_file():
        return
    given = _load_table(path or _PROJECT_FILE)
    where = path or f"{_PROJECT_FILE}, {'.'.join(_TABLE)}"
    known = {_key(each): each for each in context.command.params if _key(each) not in _NEVER}
    defaults = {}
    for key, value in given.items():
        name = key.replace("_", "-")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise SettingsError(f"{where}: unknown key {key!r}", hint=f"did you mean {close[0]}?")
        assert known[name].name is not None
        defaults[known[name].name] = _convert(where, key, value, known[name], context)
    context.default_map = {**(context.default_map or {}), **defaults}


def _load_table(path: str) -> Mapping[str, Any]:
    try:
        table: Any = tomllib.loads(Path(path).read_bytes().decode("utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"cannot read {path}: {reason}", hint="give a TOML file to `requirements`"
        ) from error
    except ValueError as error:
        raise SettingsError(
            f"cannot read {path}: not TOML: {str(error).splitlines()[0]}", hint="correct it"
        ) from error
    if Path(path).name == _PROJECT_FILE:
        for name in _TABLE:
            table = table.get(name, {}) if isinstance(table, dict) else {}
    if not isinstance(table, dict):
        raise SettingsError(
            f"{path}: {'.'.join(_TABLE)} is no table", hint=f"write [{'.'.join(_TABLE)}]"
        )
    return table


def _convert(
    where: str, key: str, value: Any, parameter: click.Parameter, context: click.Context
) -> Any:
    if getattr(parameter, "is_flag", False):
        if not isinstance(value, bool):
            raise _bad_value(where, key, value, "write true or false")
        return value
    if parameter.multiple != isinstance(value, list):
        wanted = (
            f'write a list, such as {key} = ["bf16"]' if parameter.multiple else ("write one value")
        )
        raise _bad_value(where, key, value, wanted)
    elements = value if isinstance(value, list) else [value]
    for each in elements:
        if isinstance(each, bool) or not isinstance(each, (str, int, float)):
            raise _bad_value(where, key, value, "write a number or a text")
    texts = [str(each) for each in elements]
    try:
        return parameter.type_cast_value(context, texts if parameter.multiple else texts[0])
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}", hint=error.hint) from None


def _bad_value(where: str, key: str, value: Any, hint: str) -> SettingsError:
    return SettingsError(f"{where}: {key} = {value!r} cannot be used", hint=hint)


def _key(parameter: click.Parameter) -> str:
    """The name of an option as it is typed, without its dashes."""
    if isinstance(parameter, click.Argument):
        return (parameter.name or "").lower()
    return max(parameter.opts, key=len).lstrip("-")

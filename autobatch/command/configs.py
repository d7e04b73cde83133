"""Batch sizes that stand in configuration files.

A trial sees the file with another value at its own path: the changed text lies in the overlay of
the run, and the file itself stays as it is.
"""

from __future__ import annotations

import json
import os
import re

from autobatch.command.template import ConfigKey
from autobatch.errors import SettingsError

_JSON_NUMBER = r'("{name}"\s*:\s*)\d+'
_YAML_LINE = re.compile(r"^(\s*)(?:- )?[\"']?([\w.-]+)[\"']?\s*[:=]\s*(.*)$")
# Also with a comma behind it, as in a configuration that is Python.
_WHOLE_NUMBER = re.compile(r"\d+(?=\s*,?\s*(?:[#;].*)?$)")
_IN_BRACES = re.compile(r"[\"']?([\w.-]+)[\"']?\s*[:=]\s*(\d+)(?=\s*[,})])")


def read_size(key: ConfigKey) -> int:
    """The batch size that a file has now.

    Raises:
        SettingsError: If there is no such file or key, or it holds no whole number.
    """
    start, end = _find(key, _read(key))
    return int(_read(key)[start:end])


def rewrite(keys: tuple[ConfigKey, ...], batch_size: int) -> dict[str, str]:
    """The texts of files with another batch size, by their paths.

    Args:
        keys: Where it stands.
        batch_size: The size.
    """
    texts: dict[str, str] = {}
    for key in keys:
        path = os.path.abspath(key.path)
        text = texts.get(path) or _read(key)
        start, end = _find(key, text)
        texts[path] = text[:start] + str(batch_size) + text[end:]
    return texts


def _read(key: ConfigKey) -> str:
    try:
        with open(key.path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SettingsError(
            f"`in={key}`: {key.path} cannot be read: {reason}", hint="give FILE:KEY"
        ) from None


def _find(key: ConfigKey, text: str) -> tuple[int, int]:
    """Where the digits of the size begin and end; the rest of the file stays as it is."""
    spots = _find_in_json(key, text) if key.path.endswith(".json") else _find_in_lines(key, text)
    if len(spots) != 1:
        what = "is not there with a whole number" if not spots else "is there more than once"
        raise SettingsError(
            f"`in={key}`: {key.key} {what}", hint="name the key with all above it, joined by dots"
        )
    return spots[0]


def _find_in_json(key: ConfigKey, text: str) -> list[tuple[int, int]]:
    """Spots of the last name whose value changes what the whole path says."""
    *_, last = key.key.split(".")
    spots = []
    for match in re.finditer(_JSON_NUMBER.format(name=re.escape(last)), text):
        start, end = match.end(1), match.end()
        changed = f"{text[:start]}{int(text[start:end]) + 1}{text[end:]}"
        if _value_at(key, text) != _value_at(key, changed):
            spots.append((start, end))
    return spots


def _value_at(key: ConfigKey, text: str) -> object:
    try:
        value = json.loads(text)
        for name in key.key.split("."):
            value = value[name]
    except (ValueError, KeyError, TypeError):
        return None
    return value


def _find_in_lines(key: ConfigKey, text: str) -> list[tuple[int, int]]:
    """Spots in YAML, TOML and INI files, by indentation and by ``[tables]``."""
    spots, offset, table = [], 0, ""
    above: list[tuple[int, str]] = []
    for line in text.splitlines(keepends=True):
        if heading := re.fullmatch(r"\[([\w.\-]+)\]\s*", line):
            table, above = heading[1], []
        elif match := _YAML_LINE.match(line):
            depth = len(match[1])
            above = [each for each in above if each[0] < depth]
            names = ".".join(filter(None, (table, *(name for _, name in above), match[2])))
            number = _WHOLE_NUMBER.match(match[3].rstrip("\n"))
            inner = list(_IN_BRACES.finditer(match[3])) if match[3][:1] not in "0123456789" else []
            found = [(f"{names}.{each[1]}", each.span(2)) for each in inner]
            found += [(names, number.span())] if number else []
            begin = offset + match.start(3)
            spots += [
                (begin + start, begin + end)
                for name, (start, end) in found
                if name == key.key or name.endswith("." + key.key)
            ]
            above.append((depth, match[2]))
        offset += len(line)
    return spots

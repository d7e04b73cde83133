"""Values that follow a catalogue's target: from text to what a configuration holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from autobatch.errors import SettingsError

_NONE = ("none", "null")
_BOOLEANS = {"true": True, "false": False}
_MAX_NEAR = 3
_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number"),
    (list, "a JSON list"),
    (dict, "a JSON object"),
)


def parse_overrides(
    overrides: Mapping[str, str], defaults: Mapping[str, Any], *, owner: str
) -> dict[str, Any]:
    """Read the values for a configuration whose keys are known.

    Args:
        overrides: Text by key.
        defaults: The configuration as it is. A value is read as the kind that it now has.
        owner: Whose configuration it is, for messages.

    Raises:
        SettingsError: For a key that there is not, with those that look like it, or a value of
            another kind.
    """
    for key in overrides:
        if key not in defaults:
            raise unknown_key_error(key, overrides[key], defaults, owner=owner)
    return {key: _parse(key, text, defaults[key]) for key, text in overrides.items()}


def parse_literal(text: str) -> Any:
    """Read a value of which nothing is known: a number, a boolean, JSON, or the text itself."""
    if text.lower() in _NONE:
        return None
    if text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def unknown_key_error(key: str, text: str, known: Iterable[str], *, owner: str) -> SettingsError:
    """The error for a key that there is not."""
    near = name_near(key, known)
    return SettingsError(
        f"{key}={text}: {owner} has no {key!r}",
        hint=f"did you mean {near}?" if near else "see the configuration's documentation",
    )


def name_near(name: str, known: Iterable[str]) -> str:
    """Three names at most that look like one, most alike first; empty if there is none."""
    public = [each for each in known if not each.startswith("_")]
    within = [each for each in public if name and (name in each or each in name)]
    close = get_close_matches(name, public, n=_MAX_NEAR, cutoff=0.6)
    near = [*close, *(each for each in sorted(within, key=len) if each not in close)]
    return " or ".join(near[:_MAX_NEAR])


def _parse(key: str, text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    if isinstance(default, tuple):
        default = list(default)
    value = parse_literal(text)
    if default is None or value is None:
        return value  # of a value that may be left out, only the library knows the kind
    if isinstance(default, float) and type(value) is int:
        return float(value)
    kind = next((words for kind, words in _KINDS if isinstance(default, kind)), "")
    if not kind or _is_like(value, default):
        return value
    raise SettingsError(
        f"{key}={text}: {key} is {kind} (now {json.dumps(default)})",
        hint=f"write it like {key}={json.dumps(default)}",
    )


def _is_like(value: Any, default: Any) -> bool:
    if type(value) is not type(default):
        return False
    # What is a count stays one.
    return not (type(value) is int and value < 0 and default > 0)

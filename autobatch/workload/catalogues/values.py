"""Values that follow a catalogue's target: from text to what a configuration holds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from autobatch.errors import SettingsError

_WORDS = {"none": None, "null": None, "true": True, "false": False}
_MAX_NEAR = 3
# Of difflib: at 0.6, "doesnotexist" resembles "dots3_note".
_LEAST_LIKENESS = 0.7
# "t5" is in "resnet50" by chance.
_SHORTEST_PART = 3


def parse_overrides(
    overrides: Mapping[str, str], defaults: Mapping[str, Any], *, owner: str
) -> dict[str, Any]:
    """Read the values for a configuration whose keys are known.

    Args:
        overrides: Text by key.
        defaults: The configuration as it is: what is a text or a float there is read as one.
        owner: Whose configuration it is, for messages.

    Raises:
        SettingsError: For a key that there is not, with those that look like it.
    """
    for key, text in overrides.items():
        if key not in defaults:
            near = name_near(key, defaults)
            raise SettingsError(
                f"{key}={text}: {owner} has no {key!r}",
                hint=f"did you mean {near}?" if near else "see the configuration's documentation",
            )
    return {key: _parse(text, defaults[key]) for key, text in overrides.items()}


def parse_literal(text: str) -> Any:
    """Read a value of which nothing is known: a number, a boolean, JSON, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def name_near(name: str, known: Iterable[str]) -> str:
    """Name up to three known names that resemble one.

    Args:
        name: What was asked for.
        known: All names.

    Returns:
        The names, most similar first; empty if there is none.
    """
    public = [each for each in known if not each.startswith("_")]
    within = [
        each
        for each in public
        if (name in each or each in name) and min(len(name), len(each)) >= _SHORTEST_PART
    ]
    close = get_close_matches(name, public, n=_MAX_NEAR, cutoff=_LEAST_LIKENESS)
    near = [*close, *(each for each in sorted(within, key=len) if each not in close)]
    return " or ".join(near[:_MAX_NEAR])


def _parse(text: str, default: Any) -> Any:
    if isinstance(default, str):
        return text
    value = parse_literal(text)
    return float(value) if isinstance(default, float) and type(value) is int else value

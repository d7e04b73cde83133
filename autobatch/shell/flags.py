"""From options as the library names them to flags as a user types them."""

from __future__ import annotations

import re
from collections.abc import Container

_NAMED = re.compile(r"`([a-z][a-z_]*)(?:=([^`]*))?`")


def to_flags(text: str, flags: Container[str] | None = None) -> str:
    """Write the options that a text names as flags.

    `memory_limit` becomes --memory-limit, `goal='memory'` becomes --goal memory, and
    `strict=True` becomes --strict.

    Args:
        text: A message or a hint of the library, or a help text.
        flags: The flags that there are; what would be no flag stays as it is. Any if left out.
    """

    def write(named: re.Match[str]) -> str:
        name, value = named[1], named[2]
        flag = "--" + name.replace("_", "-")
        if flags is not None and flag not in flags:
            return named[0]
        return flag if value in (None, "True") else f"{flag} {value.strip(chr(39))}"

    return _NAMED.sub(write, text)

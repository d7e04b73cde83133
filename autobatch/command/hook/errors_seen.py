"""Out-of-memory errors, seen where they are raised: a script may catch them and go on."""

from __future__ import annotations

import re
from typing import Any


class OutOfMemory:
    """Reports errors that say that memory ran out, and holds the process there.

    Args:
        torch: The module.
        line: To autobatch.
        describe: An exception and those that led to it, as names and messages.
    """

    def __init__(self, torch: Any, line: Any, describe: Any) -> None:
        self._line, self._describe = line, describe
        self._pattern = re.compile(line.config["out_of_memory"], re.IGNORECASE)
        self._is_told_by_class = (MemoryError, torch.OutOfMemoryError)

    def look_at(self, error: BaseException, where: str) -> None:
        """Hold the process if an error says that memory ran out.

        Args:
            error: What was raised.
            where: What the script was doing.
        """
        chain = self._describe(error)
        told = isinstance(error, self._is_told_by_class) or any(
            name in ("MemoryError", "OutOfMemoryError", "RuntimeError", "OSError")
            and (name.endswith("MemoryError") or self._pattern.search(text))
            for name, text in chain
        )
        if told:
            self._line.say("out_of_memory", self._line.now(), where, chain, at_once=True)
            self._line.hold()

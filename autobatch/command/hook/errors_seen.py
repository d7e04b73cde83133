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
        self._watch_observer(torch)

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

    def _watch_observer(self, torch: Any) -> None:
        """The allocator of CUDA tells of it even where nothing here is on the way."""
        attach = getattr(torch._C, "_cuda_attach_out_of_memory_observer", None)
        if attach is None or not torch.version.cuda:
            return

        def observe(device: int, asked: int, total: int, free: int) -> None:
            text = f"CUDA out of memory: tried to allocate {asked} bytes on device {device}"
            chain = [["OutOfMemoryError", text]]
            self._line.say("out_of_memory", self._line.now(), "CUDA", chain, at_once=True)
            self._line.hold()

        torch.cuda._lazy_call(lambda: attach(observe))

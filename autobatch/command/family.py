"""Everything that a run has started, and the end of it.

autobatch makes itself the subreaper: what loses its parent becomes its child, whatever session it
has moved to. So the family is what descends from autobatch and was not there before.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from autobatch.devices.family import find_descendants

_PR_SET_CHILD_SUBREAPER = 36
_PAUSE_S = 0.02
_PATIENCE_S = 10.0


class Family:
    """The processes of one run. Make it before the run starts."""

    def __init__(self) -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._others = set(find_descendants(os.getpid()))

    def members(self) -> list[int]:
        """Every process of the run, those included that have ended and wait to be collected."""
        return [pid for pid in find_descendants(os.getpid()) if pid not in self._others]

    def end(self, spared: int | None = None) -> int:
        """Kill all, again and again until none is left.

        A process may start another between the look and the kill.

        Args:
            spared: A process that goes on.

        Returns:
            How many are left all the same, such as one that waits for a broken disk.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            members = [pid for pid in self.members() if pid != spared]
            if not members or time.monotonic() > deadline:
                return len(members)
            for pid in members:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(_PAUSE_S)
            for pid in members:
                if is_zombie(pid):
                    with suppress(ChildProcessError):  # its parent has to be collected first
                        os.waitpid(pid, os.WNOHANG)


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and waits to be collected."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] == "Z"


def has_libtorch(pid: int) -> bool:
    """Whether a process has PyTorch's library in its memory."""
    try:
        return "/libtorch" in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False

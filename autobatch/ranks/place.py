"""Where a child stands that does not end, and whether it waits for other ranks there.

``faulthandler`` writes a process's Python stack when a signal comes, even from inside C++. A child
that writes nothing is stopped, or in the kernel.
"""

from __future__ import annotations

import faulthandler
import os
import re
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_SIGNAL = signal.SIGUSR1
_PATIENCE_S, _POLL_S = 0.3, 0.02
_MOST_BYTES = 2**16
_FRAME = re.compile(r'File "(.+)", line (\d+) in (.+)')
_WAITS = (
    "/autobatch/ranks/",
    "/torch/distributed/",
    "/torch/nn/parallel/distributed.py",
    "/torch/autograd/",
    "/torch/_tensor.py",
    "/torch/_ops.py",
    "/torch/utils/_python_dispatch.py",
)
_NOT_THE_USERS = (
    "/site-packages/",
    "/dist-packages/",
    f"{Path(__file__).resolve().parents[1]}/",
    f"{Path(os.__file__).parent}/",
)


class Standing(NamedTuple):
    """Where a process stands.

    Attributes:
        text: In words.
        waits: Whether it waits for other ranks there.
    """

    text: str
    waits: bool


class Stacks:
    """Asks a child for its stack; made before the fork."""

    def __init__(self) -> None:
        self._file = os.memfd_create("stacks")

    def listen(self) -> None:
        """In the child: write where it stands when asked."""
        faulthandler.register(_SIGNAL, file=self._file, all_threads=False, chain=False)

    def find(self, pid: int) -> Standing:
        """Where a child that listens stands."""
        os.lseek(self._file, 0, os.SEEK_SET)  # the child has the same position
        os.ftruncate(self._file, 0)
        with suppress(ProcessLookupError):
            os.kill(pid, _SIGNAL)
        end, text = time.monotonic() + _PATIENCE_S, ""
        while not text.endswith("\n") and time.monotonic() < end:
            time.sleep(_POLL_S)
            text = os.pread(self._file, _MOST_BYTES, 0).decode(errors="replace")
        return read_stack(text)


def read_stack(text: str) -> Standing:
    """Where a process stands by its stack, the latest call first; empty if it wrote none."""
    frames = _FRAME.findall(text)
    if not frames:
        return Standing("it does not answer: stopped, or in the kernel", waits=False)
    waits = any(part in frames[0][0] for part in _WAITS)
    theirs = [each for each in frames if not any(part in each[0] for part in _NOT_THE_USERS)]
    path, line, function = (theirs or frames)[0]
    return Standing(f"it was at {os.path.basename(path)}:{line} in {function}", waits)

"""One worker process, seen from its parent."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol

import psutil

from autobatch.probe.protocol import Reply, Request, Stage

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[3])
# The current folder is no place to import from: a user's random.py would shadow Python's.
_START = "import sys; sys.path = [path for path in sys.path if path] + [{!r}]; {}"
# Nothing of what an import makes is garbage, and looking for it takes a tenth of the time.
ENTRY = (
    "import gc; gc.disable(); from autobatch.probe.worker.worker import main; gc.enable(); main()"
)
_WORKER = "autobatch.probe.worker"
_WATCH_INTERVAL_S = 0.05
_NUM_TAIL_LINES = 20


class Process(Protocol):
    """What its parent sees of a worker's process: ``subprocess.Popen``, or a fork."""

    pid: int

    @property
    def stdin(self) -> IO[bytes]:
        """Takes requests."""

    @property
    def stdout(self) -> IO[bytes]:
        """Gives replies."""

    @property
    def stderr(self) -> IO[bytes]:
        """Gives what the user's code prints."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self) -> int:
        """Wait for its end and return its exit status."""


def kill_with_descendants(process: Process | subprocess.Popen[str]) -> None:
    """Kill a process and all that it started, in sessions of their own too.

    Args:
        process: The process, which is still to be waited for.
    """
    descendants = []
    with contextlib.suppress(psutil.NoSuchProcess):
        descendants = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for each in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()


def start_process(variables: Mapping[str, str], entry: str = ENTRY) -> Process:
    """Start a Python of its own that answers requests.

    Args:
        variables: Environment variables to set for it.
        entry: Python code that answers.
    """
    process: Any = subprocess.Popen(
        [sys.executable, "-c", _START.format(_PACKAGE_PARENT, entry), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **variables},
        # A session of its own, so that Ctrl-C at a terminal reaches the parent alone.
        start_new_session=True,
    )
    started: Process = process  # with all three pipes, which were asked for
    return started


def find_other_searches() -> tuple[int, ...]:
    """Ids of other processes on this machine that have workers of their own.

    A worker's command line ends in the id of its parent. Nothing has to be written anywhere, and
    nothing is left of a search that was killed, since its workers die with it.
    """
    found = set()
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or [""]
        if command[-1].isdigit() and any(_WORKER in part for part in command):
            found.add(int(command[-1]))
    return tuple(sorted(found - {os.getpid()}))


class WorkerProcess:
    """One worker, from its start to its end.

    Args:
        process: Just started.
        on_output: Receives each line that the user's code prints.
        on_stage: Receives what the worker does now, while it prepares a reply.
    """

    def __init__(
        self,
        process: Process,
        on_output: Callable[[str], None],
        on_stage: Callable[[str], None] = lambda doing: None,
    ) -> None:
        self._on_output = on_output
        self._on_stage = on_stage
        self._tail: deque[str] = deque(maxlen=_NUM_TAIL_LINES)
        self._replies: queue.Queue[Reply | None] = queue.Queue()
        self._process = process
        self._readers = [
            threading.Thread(target=read, daemon=True)
            for read in (self._read_replies, self._read_output)
        ]
        for reader in self._readers:
            reader.start()

    def send(self, request: Request) -> None:
        """Send a request; a worker that is gone is noticed by ``receive``."""
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def receive(
        self, timeout_s: float | None = None, look: Callable[[], None] | None = None
    ) -> Reply | None:
        """Wait for a reply.

        Args:
            timeout_s: How long at most.
            look: Is called now and then while waiting.

        Returns:
            The reply, or ``None`` if the worker ended without one.

        Raises:
            TimeoutError: If there was none in time.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            wait_s = left_s
            if look is not None:
                wait_s = _WATCH_INTERVAL_S if left_s is None else min(left_s, _WATCH_INTERVAL_S)
            try:
                return self._replies.get(timeout=wait_s)
            except queue.Empty:
                if left_s is not None and time.monotonic() >= (deadline or 0.0):
                    raise TimeoutError from None
            if look is not None:
                look()

    def kill(self) -> None:
        """End the worker and every process that it started, without waiting for that."""
        kill_with_descendants(self._process)

    def end(self) -> int:
        """End the worker and every process that it started; return its exit status."""
        self.kill()
        exit_code = self._process.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        return exit_code

    @property
    def stderr_tail(self) -> str:
        """The last lines that the worker wrote to standard error."""
        return "\n".join(self._tail)

    def _read_replies(self) -> None:
        try:
            while True:
                reply = pickle.load(self._process.stdout)
                if isinstance(reply, Stage):
                    self._on_stage(reply.doing)
                else:
                    self._replies.put(reply)
        except Exception:  # half a record can make pickle raise almost anything
            self._replies.put(None)

    def _read_output(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for raw in self._process.stderr:
                line = raw.decode(errors="replace").rstrip()
                self._tail.append(line)
                self._on_output(line)

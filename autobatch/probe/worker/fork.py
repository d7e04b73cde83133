"""A worker that is a fork of this very process, and so has the caller's objects.

What happens in it leaves no trace here by construction: weights, random generators, hooks,
samplers and files' positions are copies, and a trial that is killed kills nobody else.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import BinaryIO, NoReturn

from autobatch.devices import linux
from autobatch.probe.isolation.openmp import end_openmp_threads
from autobatch.probe.worker.worker import Worker, serve


class ForkedProcess:
    """A child of this process that answers requests; has the interface of ``subprocess.Popen``.

    Args:
        make_worker: Makes what answers them, in the child.
    """

    def __init__(self, make_worker: Callable[[], Worker]) -> None:
        requests, self.stdin = _pipe()
        self.stdout, replies = _pipe()
        self.stderr, output = _pipe()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()  # or the child has it to write as well
        end_openmp_threads()
        parent_pid = os.getpid()
        with warnings.catch_warnings():
            # Python 3.12 and later warn of any thread: what could hang, `can_fork` knows.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.pid = os.fork()
        if self.pid == 0:
            for mine in (self.stdin, self.stdout, self.stderr):
                mine.close()
            _be_worker(make_worker, requests, replies, output, parent_pid)
        for theirs in (requests, replies, output):
            theirs.close()
        self._exit_code: int | None = None

    def kill(self) -> None:
        """Send SIGKILL, unless it has been waited for."""
        if self._exit_code is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        if self._exit_code is None:
            _, status = os.waitpid(self.pid, 0)
            self._exit_code = os.waitstatus_to_exitcode(status)
        return self._exit_code


def _pipe() -> tuple[BinaryIO, BinaryIO]:
    reader, writer = os.pipe()
    return os.fdopen(reader, "rb"), os.fdopen(writer, "wb")


def _be_worker(
    make_worker: Callable[[], Worker],
    requests: BinaryIO,
    replies: BinaryIO,
    output: BinaryIO,
    parent_pid: int,
) -> NoReturn:
    # Nothing may escape from here: the child would go on as a second copy of its parent.
    try:
        gc.freeze()  # what the parent holds is the parent's to end, such as a loader's workers
        os.setsid()  # Ctrl-C at a terminal reaches the parent alone
        linux.die_with_parent()
        _take_signals()
        _redirect(output)
        if os.getppid() == parent_pid:
            serve(make_worker(), requests, replies)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        os._exit(1)
    finally:
        os._exit(0)


def _take_signals() -> None:
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    threading.excepthook = threading.__excepthook__
    sys.excepthook = sys.__excepthook__


def _redirect(output: BinaryIO) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    for number in (1, 2):
        os.dup2(output.fileno(), number)
    # Whatever a notebook or a test put in their place would write to its own ends.
    sys.stdout = os.fdopen(1, "w", buffering=1, errors="backslashreplace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)

"""Running a piece of work in a forked child, which it may kill."""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from autobatch.devices import linux
from autobatch.devices.meter import ProcessMeter, meter_process

_WATCH_INTERVAL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildDied:
    """A child that ended without a result.

    Attributes:
        exit_code: Its exit status; negative, the signal that ended it.
        peak_bytes: What it and its descendants held when last looked at.
        was_over_budget: Whether we ended it for its memory.
        was_too_slow: Whether we ended it for its time.
    """

    exit_code: int
    peak_bytes: int | None
    was_over_budget: bool
    was_too_slow: bool


def meter_child(pid: int) -> ProcessMeter:
    """A meter of a child that was forked from this process."""
    return meter_process(pid, template_pid=os.getpid())


def run_in_child(
    work: Callable[[], Any],
    *,
    budget_bytes: int | None = None,
    timeout_s: float | None = None,
    meter: Callable[[int], ProcessMeter] = meter_child,
    look: Callable[[int], None] = lambda pid: None,
) -> Any:
    """Fork, run ``work`` in the child, and bring its result back.

    Args:
        work: Must return something that can be pickled, and not raise.
        budget_bytes: End the child when what it and its descendants hold exceeds this: the second
            line of defence, for memory that the kernel's limit on one process's private memory
            does not count.
        timeout_s: End it after this time.
        meter: Makes what looks at the child's memory.
        look: Called with the child's number now and then while it works, and once its time is up,
            before it is ended; may end it.

    Returns:
        What ``work`` returned, or a ``ChildDied``.
    """
    reader, writer = os.pipe()
    parent_pid = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_child(work, writer, parent_pid)
    os.close(writer)
    try:
        watch = _Watch(pid, budget_bytes, timeout_s, meter(pid))
        payload = _collect(reader, watch, look)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        raise
    finally:
        os.close(reader)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        # It leads a process group: what is left in it are processes that it started, such as loader
        # workers. Until it is reaped, no other process can have its number.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    exit_code = os.waitstatus_to_exitcode(status)
    if exit_code == 0 and payload and not (watch.was_over_budget or watch.was_too_slow):
        return pickle.loads(payload)
    return ChildDied(
        exit_code=exit_code,
        peak_bytes=watch.held_bytes,
        was_over_budget=watch.was_over_budget,
        was_too_slow=watch.was_too_slow,
    )


def _be_child(work: Callable[[], Any], writer: int, parent_pid: int) -> None:
    # Nothing may escape from here: the child would go on as a second copy of its parent.
    try:
        os.setpgid(0, 0)
        linux.die_with_parent()
        linux.prefer_as_oom_victim()
        if os.getppid() == parent_pid:
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(pickle.dumps(work()))
            os._exit(0)
    finally:
        os._exit(1)


class _Watch:
    """Samples a child, and tells if it exceeds its memory or time."""

    def __init__(
        self, pid: int, budget_bytes: int | None, timeout_s: float | None, meter: ProcessMeter
    ) -> None:
        self.pid = pid
        self.held_bytes: int | None = None
        self.was_over_budget = False
        self.was_too_slow = False
        self._meter = meter
        self._budget_bytes = budget_bytes
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s

    def must_end(self) -> bool:
        self.held_bytes = self._meter.look() or self.held_bytes
        if self._budget_bytes is not None and (self.held_bytes or 0) > self._budget_bytes:
            self.was_over_budget = True
        elif self._deadline is not None and time.monotonic() > self._deadline:
            self.was_too_slow = True
        return self.was_over_budget or self.was_too_slow


def _collect(reader: int, watch: _Watch, look: Callable[[int], None]) -> bytes:
    chunks: list[bytes] = []
    while True:
        # Looked at first: all that it wrote is then in the pipe.
        has_ended = _has_ended(watch.pid)
        ready, _, _ = select.select([reader], [], [], 0 if has_ended else _WATCH_INTERVAL_S)
        chunk = os.read(reader, 2**16) if ready else b""
        if chunk:
            chunks.append(chunk)
            continue
        # Without the pipe's end it has left a process behind, such as a loader's worker.
        if ready or has_ended:
            return b"".join(chunks)
        must_end = watch.must_end()
        look(watch.pid)
        if must_end:
            os.kill(watch.pid, signal.SIGKILL)


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

"""The parent's end: starts workers, asks them, and replaces those that die."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import psutil

from autobatch import errors
from autobatch.probe.protocol import (
    Failure,
    Loaded,
    LoadRequest,
    NoisePlan,
    NoiseReply,
    NoiseRequest,
    Reply,
    Request,
    TimingPlan,
    TrialReply,
    TrialRequest,
)
from autobatch.records import NoiseScale, Outcome, Settings, Trial
from autobatch.units import format_seconds

if TYPE_CHECKING:
    from typing_extensions import Self

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
# The current folder is no place to import from: a user's random.py would shadow Python's.
_START = (
    "import sys; sys.path = [path for path in sys.path if path] + [{!r}]; "
    "from autobatch.probe.worker import main; main()"
)
_NUM_TAIL_LINES = 20
_GRACE_S = 10.0


class WorkerProcess:
    """One worker, from its start to its end.

    Args:
        variables: Environment variables to set for it.
        on_output: Receives each line that the user's code prints.
    """

    def __init__(self, variables: dict[str, str], on_output: Callable[[str], None]) -> None:
        self._on_output = on_output
        self._tail: deque[str] = deque(maxlen=_NUM_TAIL_LINES)
        self._replies: queue.Queue[Reply | None] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(_PACKAGE_PARENT), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **variables},
            # A session of its own, so that Ctrl-C at a terminal reaches the parent alone.
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=read, daemon=True)
            for read in (self._read_replies, self._read_output)
        ]
        for reader in self._readers:
            reader.start()

    def send(self, request: Request) -> None:
        """Send a request; a worker that is gone is noticed by ``receive``."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            pickle.dump(request, self._process.stdin)
            self._process.stdin.flush()

    def receive(self, timeout_s: float | None = None) -> Reply | None:
        """Wait for a reply.

        Returns:
            The reply, or ``None`` if the worker ended without one.

        Raises:
            TimeoutError: If there was none in time.
        """
        try:
            return self._replies.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError from None

    def end(self) -> int:
        """End the worker and every process that it started; return its exit status."""
        family = self._descendants()
        self._process.kill()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        exit_code = self._process.wait()
        for reader in self._readers:
            reader.join(timeout=5)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        return exit_code

    def _descendants(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(psutil.Process(self._process.pid).children(recursive=True))
        return []

    @property
    def stderr_tail(self) -> str:
        """The last lines that the worker wrote to standard error."""
        return "\n".join(self._tail)

    def _read_replies(self) -> None:
        assert self._process.stdout is not None
        try:
            while True:
                self._replies.put(pickle.load(self._process.stdout))
        except Exception:  # half a record can make pickle raise almost anything
            self._replies.put(None)

    def _read_output(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            for raw in self._process.stderr:
                line = raw.decode(errors="replace").rstrip()
                self._tail.append(line)
                self._on_output(line)


class TargetProber:
    """Measures a target in worker processes; a context manager, so that none is left behind.

    Args:
        target: ``model.py``, ``model.py:name`` or ``package.module:name``.
        settings: Settings of the search.
        on_output: Receives each line that the user's code prints.
    """

    def __init__(
        self,
        target: str,
        settings: Settings,
        *,
        on_output: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._target = target
        self._settings = settings
        self._on_output = on_output
        self._loaded: Loaded | None = None
        self._worker: WorkerProcess | None = None

    def __enter__(self) -> Self:
        self._worker = self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end_worker()

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Build the workload in the worker and run one step of it.

        Raises:
            WorkloadError: If the workload is not usable.
            DeviceError: If the device is not.
            WorkerError: If the worker ended without saying why, or was not done in time.
        """
        worker = self._worker = self._worker or self._start()
        worker.send(LoadRequest(target=self._target, settings=self._settings))
        try:
            reply = worker.receive(timeout_s)
        except TimeoutError:
            raise errors.WorkerError(
                "loading the workload and one step of it took more than "
                f"{format_seconds(timeout_s or 0.0)}",
                hint="raise --trial-timeout or --time-limit, or look with -v at what it prints",
                exit_code=self._end_worker(),
                stderr_tail=worker.stderr_tail,
            ) from None
        if isinstance(reply, Loaded):
            self._loaded = reply
            return reply
        raise self._to_error(reply, "while the workload was loaded")

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size. A worker that dies of it is replaced for the next one.

        Raises:
            WorkloadError: If the user's code raised something else than out of memory.
        """
        if self._worker is None:
            self.load(timeout_s=timeout_s)
        request = TrialRequest(
            batch_size=batch_size,
            budget_bytes=self._require_loaded().budget.budget_bytes,
            plan=plan,
            timeout_s=timeout_s,
        )
        reply = self._ask(request)
        if reply is None and self._require_loaded().environment.isolation == "process":
            # A trial that dies takes only its own process along: the worker died of something
            # else, and the size has not run.
            self._end_worker()
            self.load(timeout_s=timeout_s)
            reply = self._ask(request)
        if isinstance(reply, TrialReply):
            return reply.trial
        if reply is not None:
            raise self._to_error(reply, f"at batch size {batch_size}")
        exit_code = self._end_worker()
        return Trial(
            batch_size=batch_size,
            outcome=Outcome.KILLED,
            message=f"the process ended with exit status {exit_code}",
        )

    def measure_noise(self, plan: NoisePlan, *, timeout_s: float | None = None) -> NoiseScale:
        """Measure the gradient noise scale at the current weights, which stay as they are.

        Raises:
            WorkloadError: If the data or the gradients do not allow it.
            WorkerError: If it did not end in time, or ended without a result.
        """
        if self._worker is None:
            self.load(timeout_s=timeout_s)
        request = NoiseRequest(
            plan=plan,
            budget_bytes=self._require_loaded().budget.budget_bytes,
            timeout_s=timeout_s,
        )
        doing = "while the gradient noise scale was measured"
        try:
            reply = self._exchange(request)
        except TimeoutError:
            self._end_worker()
            raise errors.WorkerError(
                "measuring the gradient noise scale: no end after "
                f"{format_seconds(timeout_s or 0.0)}",
                hint="raise --trial-timeout or --time-limit",
            ) from None
        if isinstance(reply, NoiseReply):
            return reply.noise
        raise self._to_error(reply, doing)

    def _exchange(self, request: Request) -> Reply | None:
        assert self._worker is not None
        self._worker.send(request)
        timeout_s = getattr(request, "timeout_s", None)
        # A worker ends a trial in a process of its own by itself, and can go on.
        grace_s = _GRACE_S if self._require_loaded().environment.isolation == "process" else 0.0
        return self._worker.receive(None if timeout_s is None else timeout_s + grace_s)

    def _ask(self, request: TrialRequest) -> Reply | None:
        timeout_s = request.timeout_s
        try:
            return self._exchange(request)
        except TimeoutError:
            self._end_worker()
            trial = Trial(
                batch_size=request.batch_size,
                outcome=Outcome.TIMED_OUT,
                message=f"no end after {format_seconds(timeout_s or 0.0)}",
            )
            return TrialReply(trial=trial)

    def _require_loaded(self) -> Loaded:
        assert self._loaded is not None
        return self._loaded

    def _start(self) -> WorkerProcess:
        return WorkerProcess(self._settings.variables, self._on_output)

    def _end_worker(self) -> int | None:
        worker, self._worker = self._worker, None
        return worker.end() if worker is not None else None

    def _to_error(self, reply: Reply | None, when: str) -> errors.AutobatchError:
        if isinstance(reply, Failure):
            if reply.error == "WorkloadError":
                return errors.WorkloadError(
                    reply.message, hint=reply.hint, user_traceback=reply.user_traceback
                )
            kind = getattr(errors, reply.error, errors.AutobatchError)
            error = kind(reply.message, hint=reply.hint)
            assert isinstance(error, errors.AutobatchError)
            return error
        worker = self._worker
        exit_code = self._end_worker()
        tail = worker.stderr_tail if worker else ""  # complete once it has ended
        return errors.WorkerError(
            f"the measuring process ended with exit status {exit_code} {when}",
            hint="run again with -v to see what it printed",
            exit_code=exit_code,
            stderr_tail=tail,
        )

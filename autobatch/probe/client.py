"""The parent's end: starts workers, sends them requests, and replaces those that die."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from autobatch import errors
from autobatch.devices.cpu import CpuDevice
from autobatch.devices.meter import ProcessMeter, meter_process
from autobatch.probe.protocol import (
    Crash,
    Failure,
    HasThreads,
    Job,
    JobReply,
    JobRequest,
    Limits,
    Loaded,
    LoadRequest,
    Purpose,
    Reply,
    TimingPlan,
    TrialReply,
    TrialRequest,
)
from autobatch.probe.trial.host import HostBudgetError, HostWatch, grown_budget_bytes
from autobatch.probe.worker.process import (
    ENTRY,
    Process,
    WorkerProcess,
    find_other_searches,
    start_process,
)
from autobatch.records import Outcome, Settings, Trial
from autobatch.units import format_seconds

if TYPE_CHECKING:
    from typing_extensions import Self

_GRACE_S = 10.0
# A final run takes seconds: it gets a process of its own if loading leaves it as much time.
_LOADING_RATIO = 2.0
R = TypeVar("R")


@dataclass(slots=True)
class _Ready:
    """A worker that has loaded the workload, what it said of it, and the seconds that this took."""

    process: WorkerProcess
    loaded: Loaded
    load_time_s: float
    has_worked: bool = False

    @property
    def forks(self) -> bool:
        """Whether it has a process of its own for each piece of work, and watches that."""
        return self.loaded.environment.isolation == "process"

    @property
    def smallest(self) -> int:
        """The size that ran while the workload was loaded."""
        return self.loaded.smallest_batch_size

    def limit(self, timeout_s: float | None) -> Limits:
        """What a piece of work may use."""
        host = self.loaded.host_budget
        return Limits(
            budget_bytes=self.loaded.budget.budget_bytes,
            host_budget_bytes=None
            if host is None
            else grown_budget_bytes(host, CpuDevice().bounds(None)),
            timeout_s=timeout_s,
        )


class TargetProber:
    """Measures a target in worker processes; a context manager, so that none is left behind.

    Args:
        target: ``model.py``, ``model.py:name`` or ``package.module:name``.
        settings: Settings of the search.
        on_output: Receives each line that the user's code prints.
        on_stage: Receives what loading does now, in words; empty at its end.
        meter: Makes what looks at a worker's memory, where no worker forks for a trial.
        start: Starts a worker; by default a Python of its own.
        entry: Python code that answers in that.
    """

    def __init__(
        self,
        target: str,
        settings: Settings,
        *,
        on_output: Callable[[str], None] = lambda line: None,
        on_stage: Callable[[str], None] = lambda doing: None,
        meter: Callable[[int], ProcessMeter] = meter_process,
        start: Callable[[], Process] | None = None,
        entry: str = ENTRY,
    ) -> None:
        self._target = target
        self._meter = meter
        self._settings = settings
        self._on_output = on_output
        self._on_stage = on_stage
        self._variables: dict[str, str] = {}
        self._start_process = start or self._start_python
        self._entry = entry
        self._worker: WorkerProcess | None = None
        self._ready: _Ready | None = None
        self._keeps_weights = False
        self._own_threads: tuple[str, ...] = ()

    def use_variables(self, variables: dict[str, str]) -> None:
        """Run what comes next with these environment variables, beside those of the settings."""
        if variables != self._variables:
            self._variables = dict(variables)
            self._end_worker()

    def _start_python(self) -> Process:
        # A child that is forked for a trial on the CPU would open the GPUs at its first backward.
        hidden = {"CUDA_VISIBLE_DEVICES": ""} if self._settings.device == "cpu" else {}
        variables = {**hidden, **self._settings.variables, **self._variables}
        return start_process(variables, self._entry)

    def __enter__(self) -> Self:
        self._worker = self._start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end_worker()

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Build the workload in the worker and run one step of it.

        Raises:
            WorkloadError: If the workload is not usable.
            DeviceError: If the device is not.
            WorkerError: If the worker ended without saying why, or was not done in time.
        """
        return self._load(timeout_s).loaded

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size; a worker that dies of it is replaced for the next one.

        A final run has a process to itself, as the training will: the worker that has run other
        trials is replaced for it.

        Raises:
            WorkloadError: If the user's code raised at the smallest size, other than out of memory.
        """
        ready = self._get_ready(timeout_s)
        if plan.is_confirmation and _can_be_replaced(ready, timeout_s):
            self._end_worker()
            ready = self._load(timeout_s)
        request = TrialRequest(batch_size=batch_size, plan=plan, limits=ready.limit(timeout_s))
        reply = self._ask(ready, request)
        if isinstance(reply, Crash) and reply.outcome is Outcome.KILLED and ready.forks:
            # A trial that dies takes only its own process along: the worker died of something
            # else, and the size has not run.
            ready = self._load(timeout_s)
            reply = self._ask(ready, replace(request, limits=ready.limit(timeout_s)))
        if isinstance(reply, Crash):
            return TrialReply.from_crash(batch_size, reply).trial
        if isinstance(reply, Failure) and reply.cause and batch_size > ready.smallest:
            if not ready.forks:  # the error may have left its device in any state
                self._end_worker()
            return Trial(batch_size=batch_size, outcome=Outcome.FAILED, message=reply.cause)
        if not isinstance(reply, TrialReply):
            raise self._to_error(reply, f"at {self._settings.along.noun} {batch_size}")
        num_others = len(find_other_searches()) if plan.purpose is not Purpose.RACE else 0
        reply = replace(reply, trial=replace(reply.trial, num_other_searches=num_others))
        if reply.lost_device is not None or self._spoiled_weights(ready, reply.trial):
            self._end_worker()
        return reply.trial

    def run(self, job: Job[R], *, timeout_s: float | None = None) -> R:
        """Run a job in the worker; one that dies of it is replaced for the next request.

        Raises:
            AutobatchError: What ``job.run`` or ``job.from_crash`` raises.
        """
        ready = self._get_ready(timeout_s)
        reply = self._ask(ready, JobRequest(job=job, limits=ready.limit(timeout_s)))
        if isinstance(reply, JobReply):
            result: R = reply.result
            return result
        if not isinstance(reply, Crash):
            raise self._to_error(reply, job.doing)
        if reply.lost_device is not None:
            self._end_worker()
        return job.from_crash(reply)

    def _get_ready(self, timeout_s: float | None) -> _Ready:
        """A worker for the next piece of work: one that has done none, if it has own threads."""
        if self._own_threads and self._ready is not None and self._ready.has_worked:
            self._end_worker()
        return self._ready or self._load(timeout_s)

    def _load(self, timeout_s: float | None) -> _Ready:
        begin = time.monotonic()
        worker = self._worker = self._worker or self._start()
        self._on_stage("importing PyTorch")
        worker.send(
            LoadRequest(
                target=self._target,
                settings=self._settings,
                keeps_weights=self._keeps_weights,
                is_for_one=bool(self._own_threads),
            )
        )
        try:
            reply = worker.receive(timeout_s)
        except TimeoutError:
            raise errors.WorkerError(
                "loading the workload and one step of it took more than "
                f"{format_seconds(timeout_s or 0.0)}",
                hint="raise `trial_timeout` or `time_limit`, or see what it prints with `verbose`",
                exit_code=self._end_worker(),
                stderr_tail=worker.stderr_tail,
            ) from None
        if isinstance(reply, HasThreads) and not self._own_threads:
            self._end_worker()
            self._own_threads = reply.names
            return self._load(timeout_s)
        if not isinstance(reply, Loaded):
            raise self._to_error(reply, "while the workload was loaded")
        self._on_stage("")
        if self._own_threads:
            workload = replace(reply.workload, own_threads=self._own_threads)
            reply = replace(reply, workload=workload)
        self._ready = _Ready(worker, reply, load_time_s=time.monotonic() - begin)
        return self._ready

    def _spoiled_weights(self, ready: _Ready, trial: Trial) -> bool:
        """Whether a trial left weights that are not finite to the trials after it.

        Learning rates are zero, but zero times a gradient that is not finite is not a number. It is
        rare and a copy of the weights is expensive, so only the next worker keeps one.
        """
        if trial.loss_is_finite or ready.forks or self._keeps_weights:
            return False
        self._keeps_weights = True
        return True

    def _ask(self, ready: _Ready, request: TrialRequest | JobRequest) -> Reply:
        """Send a request and wait for the reply; stop a worker that does not answer in time."""
        timeout_s, look, watch = request.limits.timeout_s, None, None
        if not ready.forks:
            meter = self._meter(ready.process.pid)
            watch = HostWatch(meter, request.limits, is_on_host=ready.loaded.device == "cpu")
            look = watch.look
        elif timeout_s is not None:
            timeout_s += _GRACE_S  # it ends the work by itself, and can go on
        ready.has_worked = True
        ready.process.send(request)
        try:
            reply = ready.process.receive(timeout_s, look)
        except TimeoutError:
            self._end_worker()
            return Crash.timed_out(request.limits.timeout_s)
        except HostBudgetError as error:
            self._end_worker()
            if isinstance(request, TrialRequest):
                return TrialReply(trial=error.as_trial(request.batch_size))
            return Crash(outcome=Outcome.OVER_BUDGET, message=str(error))
        if reply is None:
            exit_code = self._end_worker()
            return Crash(
                outcome=Outcome.KILLED,
                message=f"the process ended with exit status {exit_code}",
                exit_code=exit_code,
                stderr_tail=ready.process.stderr_tail,  # complete once it has ended
            )
        if watch is not None and isinstance(reply, TrialReply):
            return replace(reply, trial=watch.complete(reply.trial))
        return reply

    def _start(self) -> WorkerProcess:
        return WorkerProcess(self._start_process(), self._on_output, self._on_stage)

    def _end_worker(self) -> int | None:
        worker, self._worker, self._ready = self._worker, None, None
        return worker.end() if worker is not None else None

    def _to_error(self, reply: Reply | None, when: str) -> errors.AutobatchError:
        if isinstance(reply, Failure):
            return to_error(reply)
        worker = self._worker
        exit_code = self._end_worker()
        tail = worker.stderr_tail if worker else ""  # complete once it has ended
        return errors.WorkerError(
            f"the measuring process ended with exit status {exit_code} {when}",
            hint="run again with -v to see what it printed",
            exit_code=exit_code,
            stderr_tail=tail,
        )


def to_error(failure: Failure) -> errors.AutobatchError:
    """The error that a failure is raised as in the parent."""
    if failure.error == "WorkloadError":
        return errors.WorkloadError(
            failure.message, hint=failure.hint, user_traceback=failure.user_traceback
        )
    kind = getattr(errors, failure.error, errors.AutobatchError)
    error: errors.AutobatchError = kind(failure.message, hint=failure.hint)
    return error


def _can_be_replaced(ready: _Ready, timeout_s: float | None) -> bool:
    """Whether a final run is to have another worker: one that is still as it was loaded."""
    if ready.forks or not ready.has_worked:
        return False
    return timeout_s is None or _LOADING_RATIO * ready.load_time_s < timeout_s

"""The parent's end: starts workers, asks them, and replaces those that die."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING

from autobatch import errors
from autobatch.check.measurement import StepMakeup
from autobatch.devices.meter import ProcessMeter, meter_process
from autobatch.noise.errors import noise_not_measured, noise_timed_out
from autobatch.probe.protocol import (
    Failure,
    Loaded,
    LoadRequest,
    MakeupReply,
    MakeupRequest,
    NoisePlan,
    NoiseReply,
    NoiseRequest,
    Reply,
    Request,
    TimingPlan,
    TrainRequest,
    TrialReply,
    TrialRequest,
)
from autobatch.probe.trial.host import HostBudgetError, HostWatch
from autobatch.probe.worker.process import ENTRY, WorkerProcess, start_process
from autobatch.records import NoiseScale, Outcome, Settings, Trial
from autobatch.units import format_seconds

if TYPE_CHECKING:
    from typing_extensions import Self

_GRACE_S = 10.0


class TargetProber:
    """Measures a target in worker processes; a context manager, so that none is left behind.

    Args:
        target: ``model.py``, ``model.py:name`` or ``package.module:name``.
        settings: Settings of the search.
        on_output: Receives each line that the user's code prints.
        meter: Makes what looks at a worker's memory, where no worker forks for a trial.
        entry: Python code that a worker runs; another one in tests.
    """

    def __init__(
        self,
        target: str,
        settings: Settings,
        *,
        on_output: Callable[[str], None] = lambda line: None,
        meter: Callable[[int], ProcessMeter] = meter_process,
        entry: str = ENTRY,
    ) -> None:
        self._target = target
        self._meter = meter
        self._entry = entry
        self._settings = settings
        self._on_output = on_output
        self._loaded: Loaded | None = None
        self._worker: WorkerProcess | None = None
        self._keeps_weights = False

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
        worker.send(
            LoadRequest(
                target=self._target,
                settings=self._settings,
                keeps_weights=self._keeps_weights,
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
        loaded = self._require_loaded()
        request = TrialRequest(
            batch_size=batch_size,
            budget_bytes=loaded.budget.budget_bytes,
            host_budget_bytes=loaded.host_budget.budget_bytes if loaded.host_budget else None,
            plan=plan,
            timeout_s=timeout_s,
        )
        reply = self._ask(request)
        if reply is None and loaded.environment.isolation == "process":
            # A trial that dies takes only its own process along: the worker died of something
            # else, and the size has not run.
            self._end_worker()
            self.load(timeout_s=timeout_s)
            reply = self._ask(request)
        if isinstance(reply, TrialReply):
            if reply.lost_device is not None or self._spoiled_weights(reply.trial):
                self._end_worker()
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
        """Measure the gradient noise scale; the weights stay as they are.

        Raises:
            WorkloadError: If the data or the gradients do not allow it.
            WorkerError: If it did not end in time, or ended without a result.
        """
        if self._worker is None:
            self.load(timeout_s=timeout_s)
        loaded = self._require_loaded()
        request = NoiseRequest(
            plan=plan,
            budget_bytes=loaded.budget.budget_bytes,
            host_budget_bytes=loaded.host_budget.budget_bytes if loaded.host_budget else None,
            timeout_s=timeout_s,
        )
        watch = self._watch(request)
        try:
            reply = self._exchange(request, watch)
        except TimeoutError:
            self._end_worker()
            raise noise_timed_out(timeout_s) from None
        except HostBudgetError:
            assert watch is not None
            self._end_worker()
            raise noise_not_measured(watch.reason) from None
        if isinstance(reply, NoiseReply):
            return reply.noise
        raise self._to_error(reply, "while the gradient noise scale was measured")

    def inspect_step(self, batch_size: int, *, timeout_s: float | None = None) -> StepMakeup | None:
        """Run one step and count what it does; ``None`` if it did not run to its end."""
        if self._worker is None:
            self.load(timeout_s=timeout_s)
        request = MakeupRequest(
            batch_size=batch_size,
            budget_bytes=self._require_loaded().budget.budget_bytes,
            timeout_s=timeout_s,
        )
        try:
            reply = self._exchange(request)
        except TimeoutError:
            reply = None
        if reply is None:
            self._end_worker()
        return reply.makeup if isinstance(reply, MakeupReply) else None

    def _spoiled_weights(self, trial: Trial) -> bool:
        """Say whether a trial left weights that are not numbers to those after it.

        Learning rates are zero, but zero times a gradient that is not finite is no number. It is
        rare, and a copy of the weights dear: only the next worker keeps one.
        """
        is_shared = self._require_loaded().environment.isolation == "shared"
        if trial.loss_is_finite or not is_shared or self._keeps_weights:
            return False
        self._keeps_weights = True
        return True

    def _exchange(self, request: Request, watch: HostWatch | None = None) -> Reply | None:
        assert self._worker is not None
        self._worker.send(request)
        timeout_s = getattr(request, "timeout_s", None)
        # A worker ends work in a process of its own by itself, and can go on.
        grace_s = _GRACE_S if self._require_loaded().environment.isolation == "process" else 0.0
        return self._worker.receive(
            None if timeout_s is None else timeout_s + grace_s, watch.look if watch else None
        )

    def _ask(self, request: TrialRequest) -> Reply | None:
        watch = self._watch(request)
        try:
            reply = self._exchange(request, watch)
        except TimeoutError:
            self._end_worker()
            trial = Trial(
                batch_size=request.batch_size,
                outcome=Outcome.TIMED_OUT,
                message=f"no end after {format_seconds(request.timeout_s or 0.0)}",
            )
            return TrialReply(trial=trial)
        except HostBudgetError:
            assert watch is not None
            self._end_worker()
            return TrialReply(trial=watch.ended_trial())
        if watch is not None and isinstance(reply, TrialReply):
            return replace(reply, trial=watch.complete(reply.trial))
        return reply

    def _watch(self, request: TrialRequest | NoiseRequest | TrainRequest) -> HostWatch | None:
        """Where a worker forks for its work it watches that itself."""
        assert self._worker is not None
        loaded = self._require_loaded()
        if loaded.environment.isolation == "process":
            return None
        return HostWatch(self._meter(self._worker.pid), request, is_on_host=loaded.device == "cpu")

    def _require_loaded(self) -> Loaded:
        assert self._loaded is not None
        return self._loaded

    def _start(self) -> WorkerProcess:
        process = start_process(self._settings.variables, self._entry)
        return WorkerProcess(process, self._on_output)

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

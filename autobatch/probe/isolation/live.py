"""Trials of objects that the caller holds.

    process   on Linux, on CPU: this process forks a worker, which has the objects and forks each
              trial in turn. Nothing that a trial does reaches the caller, whatever becomes of it.
    shared    elsewhere: trials run in this process, and what they change is put back after each.

What was tried before it was settled. A fork of a process that has trained hangs in its first
parallel region, since OpenMP's threads are not copied; with the pool ended first it does not
(``probe.openmp``). Starting a fresh process and sending it the objects would need all of them,
dataset and training step included, to be picklable, and would hold them twice. A process that
sees a GPU cannot be forked: contexts do not survive it, nor do the threads that run backward
passes once there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from autobatch.devices.base import Device
from autobatch.devices.select import prefer
from autobatch.errors import AutobatchError, WorkloadError
from autobatch.noise.errors import noise_timed_out
from autobatch.probe.client import TargetProber
from autobatch.probe.isolation.deadline import DeadlineSource, TrialTimedOut
from autobatch.probe.isolation.openmp import end_openmp_threads
from autobatch.probe.isolation.untouched import Untouched
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
from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.probe.worker.process import WorkerProcess
from autobatch.probe.worker.trial_worker import NEEDS_TWO
from autobatch.probe.worker.worker import Worker
from autobatch.records import NoiseScale, Outcome, Settings, Trial
from autobatch.units import format_seconds
from autobatch.workload.contract import Workload
from autobatch.workload.live import build_task

if sys.platform == "linux":
    from autobatch.devices import linux
    from autobatch.probe.isolation.fork import ForkedProcess

if TYPE_CHECKING:
    from typing_extensions import Self

_TARGET = "objects"


def can_fork(device_name: str) -> bool:
    """Whether trials may run in forks of this process."""
    is_on_linux = sys.platform == "linux"
    return is_on_linux and device_name == "cpu" and prefer() == "cpu" and end_openmp_threads()


@contextmanager
def plain_modes(device_type: str) -> Iterator[None]:
    """Gradients and full precision, whatever contexts the caller is in."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autocast(device_type, enabled=False))
        yield


class LiveWorker(Worker):
    """Answers for objects that are in this process already.

    Args:
        workload: The objects.
        file_pages: Pages of libraries that the caller has in memory.
    """

    def __init__(self, workload: Workload, file_pages: list[int]) -> None:
        super().__init__()
        self._workload = workload
        self._inherited_pages = file_pages

    def _load_task(self, request: LoadRequest) -> None:
        self._task = build_task(self._workload, request.settings)

    def _find_file_pages(self) -> list[int]:
        return sorted({*self._inherited_pages, *linux.find_resident_file_pages()})

    def _measure(self, request: TrialRequest) -> tuple[Reply, str, str]:
        assert self._device is not None
        with plain_modes(torch.device(self._device.name).type):
            return super()._measure(request)

    def _measure_noise(self, request: NoiseRequest) -> Reply:
        assert self._device is not None
        if getattr(self._workload.optimizer, "state", None):  # in the middle of training
            request = replace(request, plan=replace(request.plan, training=None))
        with plain_modes(torch.device(self._device.name).type):
            return super()._measure_noise(request)


class ForkingProber(TargetProber):
    """Measures the caller's objects in forks of this process.

    Args:
        workload: The objects.
        settings: Settings of the search.
        on_output: Receives each line that the user's code prints.
    """

    def __init__(
        self,
        workload: Workload,
        settings: Settings,
        *,
        on_output: Callable[[str], None] = lambda line: None,
    ) -> None:
        super().__init__(_TARGET, settings, on_output=on_output)
        self._workload = workload

    def _start(self) -> WorkerProcess:
        pages = linux.find_resident_file_pages()
        process = ForkedProcess(lambda: LiveWorker(self._workload, pages))
        return WorkerProcess(process, self._on_output)


class SharingProber:
    """Measures the caller's objects in this process, and puts back what that changed.

    An exception of the user's code passes through as it is, with its batch size as a note.

    Args:
        workload: The objects.
        settings: Settings of the search.
    """

    def __init__(self, workload: Workload, settings: Settings) -> None:
        self._settings = settings
        self._worker = SharingWorker(workload)
        self._budget_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worker.forget()

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Build the workload and run one step of it."""
        reply = self._worker.answer(LoadRequest(target=_TARGET, settings=self._settings))
        if isinstance(reply, Failure):
            raise WorkloadError(reply.message, hint=reply.hint)
        assert isinstance(reply, Loaded)
        self._budget_bytes = reply.budget.budget_bytes
        return reply

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size. A step that hangs cannot be ended; none is begun after its time."""
        reply = self._worker.answer(
            TrialRequest(
                batch_size=batch_size,
                budget_bytes=self._budget_bytes,
                plan=plan,
                timeout_s=timeout_s,
            )
        )
        assert isinstance(reply, TrialReply)
        return reply.trial

    def measure_noise(self, plan: NoisePlan, *, timeout_s: float | None = None) -> NoiseScale:
        """Measure the gradient noise scale; the weights stay as they are.

        Raises:
            WorkloadError: If the data or the gradients do not allow it, or memory ran out.
            WorkerError: If no further micro-batch could be begun in time.
        """
        request = NoiseRequest(plan=plan, budget_bytes=self._budget_bytes, timeout_s=timeout_s)
        try:
            reply = self._worker.answer(request)
        except TrialTimedOut:
            raise noise_timed_out(timeout_s) from None
        if isinstance(reply, Failure):
            raise WorkloadError(reply.message, hint=reply.hint)
        assert isinstance(reply, NoiseReply)
        return reply.noise


class SharingWorker(LiveWorker):
    """Answers in the caller's own process; exceptions are the caller's."""

    def __init__(self, workload: Workload) -> None:
        super().__init__(workload, [])
        self._source: Any = None

    def forget(self) -> None:
        """Let go of all that trials left behind, and give its memory back."""
        self._task = self._source = None
        if self._device is not None:
            self._device.release()

    def answer(self, request: Request) -> Reply:
        """Carry out a request, and put everything back."""
        with Untouched(self._workload) as self._untouched:
            try:
                return super().answer(request)
            finally:
                self._task = None
                # On a GPU another process may need it; here it is at hand for what comes next.
                if self._device is not None and self._device.name != "cpu":
                    self._device.release()

    @property
    def _scans_apart(self) -> bool:
        return False  # who knows which threads the caller has; what changes is put back

    def _select_device(self, name: str) -> Device:
        device = super()._select_device(name)
        device.can_fork = False
        return device

    def _load_task(self, request: LoadRequest) -> None:
        with plain_modes(torch.device(request.settings.device).type):
            super()._load_task(request)
        assert self._task is not None
        self._source = self._task.source

    def _fail(
        self, error: BaseException, *, doing: str = "", batch_size: int | None = None
    ) -> Failure:
        failure = super()._fail(error, doing=doing, batch_size=batch_size)
        if NEEDS_TWO in failure.message and batch_size == 1:
            return failure
        if doing and is_out_of_memory(error):
            return failure
        if doing and not isinstance(error, AutobatchError) and hasattr(error, "add_note"):
            error.add_note(doing)
        raise error

    def _run(self, request: TrialRequest) -> Reply:
        held_bytes = self._prepare(request.timeout_s)
        budget_bytes = request.budget_bytes + held_bytes
        try:
            reply = super()._run(replace(request, budget_bytes=budget_bytes))
        except TrialTimedOut:
            message = f"no end after {format_seconds(request.timeout_s or 0.0)}"
            outcome = Outcome.TIMED_OUT
            trial = Trial(batch_size=request.batch_size, outcome=outcome, message=message)
            return TrialReply(trial=trial)
        if not isinstance(reply, TrialReply):
            return reply
        return TrialReply(trial=_without(reply.trial, held_bytes))

    def _measure_noise(self, request: NoiseRequest) -> Reply:
        held_bytes = self._prepare(request.timeout_s)
        return super()._measure_noise(
            replace(request, budget_bytes=request.budget_bytes + held_bytes)
        )

    def _prepare(self, timeout_s: float | None) -> int:
        """Make the task ready for a piece of work; return what of its memory is our own."""
        assert self._device is not None
        # Built anew for each: what the one before did to the optimizer was put back.
        task = self._task or build_task(self._workload, self._settings, self._source)
        self._task = replace(task, source=DeadlineSource(self._source, timeout_s))
        # The copies of what will be put back are ours, not the training's.
        return self._untouched.held_bytes if self._device.name == "cpu" else 0


def _without(trial: Trial, held_bytes: int) -> Trial:
    peak = trial.peak_bytes
    return replace(
        trial,
        peak_bytes=None if peak is None else max(0, peak - held_bytes),
        window_peaks_bytes=tuple(max(0, peak - held_bytes) for peak in trial.window_peaks_bytes),
    )

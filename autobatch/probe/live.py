"""Trials of objects that the caller holds.

    process   on Linux, on CPU: this process forks a worker, which has the objects and forks each
              trial in turn. Nothing that a trial does reaches the caller.
    shared    elsewhere: trials run in this process, and what they change is put back after each.

Alternatives that were tried: a fork of a process that has trained hangs in its first
parallel region, since OpenMP's threads are not copied; with the pool ended first it does not
(``isolation.openmp``). Starting a fresh process and sending it the objects would need all of them,
dataset and training step included, to be picklable, and would hold them twice. A process that
sees a GPU cannot be forked: contexts do not survive it, nor do the threads that run backward
passes once there is one.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from autobatch.devices.select import prefer, select_device
from autobatch.errors import AutobatchError, DeviceError, SettingsError, WorkloadError, cause_of
from autobatch.probe.client import TargetProber
from autobatch.probe.isolation.endings import WorkFailed
from autobatch.probe.isolation.openmp import end_openmp_threads
from autobatch.probe.isolation.own_threads import has_pools
from autobatch.probe.isolation.put_back import PutBack, plain_modes
from autobatch.probe.isolation.untouched import Piece
from autobatch.probe.protocol import (
    Crash,
    Job,
    JobRequest,
    Limits,
    Loaded,
    TimingPlan,
    TrialRequest,
)
from autobatch.probe.worker.load import load
from autobatch.probe.worker.loaded import LoadedWorker
from autobatch.records import Outcome, Settings, Trial
from autobatch.workload.contract import Workload
from autobatch.workload.live import BuildTask, build_task

if sys.platform == "linux":
    from autobatch.devices import linux
    from autobatch.probe.isolation.forked import Forked
    from autobatch.probe.worker.fork import ForkedProcess
    from autobatch.probe.worker.worker import Worker

if TYPE_CHECKING:
    from typing_extensions import Self

R = TypeVar("R")
_ISOLATIONS = ("auto", "process", "shared")


def can_fork(device_name: str) -> bool:
    """Whether trials may run in forks of this process.

    Not beside a thread pool, which a forward pass may use. Other threads are common, in notebooks
    above all, and seldom part of a training.
    """
    is_on_linux = sys.platform == "linux"
    if not is_on_linux or device_name != "cpu" or prefer() != "cpu":
        return False
    return not has_pools() and end_openmp_threads()


def make_prober(
    workload: Workload, settings: Settings, isolation: str = "auto", build: BuildTask = build_task
) -> TargetProber | SharingProber:
    """Measure the caller's objects, in forks where that can be.

    Args:
        workload: The objects.
        settings: Settings of the search.
        isolation: ``auto``, ``process`` or ``shared``.
        build: Makes the task of them.

    Raises:
        SettingsError: If there is no such isolation.
        DeviceError: If this process cannot be forked, and must be.
    """
    if isolation not in _ISOLATIONS:
        raise SettingsError(
            f"isolation must be one of {', '.join(map(repr, _ISOLATIONS))}, got {isolation!r}",
            hint="leave it out, for 'auto'",
        )
    if isolation == "shared":
        return SharingProber(workload, settings, build)
    if can_fork(settings.device):
        return _make_forking_prober(workload, settings, build)
    if isolation == "process":
        raise DeviceError(
            f"isolation='process': this process cannot be forked to train on {settings.device}",
            hint="leave isolation out",
        )
    return SharingProber(workload, settings, build)


def _make_forking_prober(workload: Workload, settings: Settings, build: BuildTask) -> TargetProber:

    def start() -> ForkedProcess:
        pages = linux.find_resident_file_pages()
        with plain_modes(settings.device):  # for good in the child
            return ForkedProcess(
                lambda: Worker(
                    make_task=lambda request, _: build(workload, request.settings),
                    isolate=lambda device, request: Forked(pages),
                )
            )

    return TargetProber("objects", settings, start=start)


class SharingProber:
    """Measures the caller's objects in this process, and puts back what that changed.

    An exception of the user's code at the smallest size passes through as it is, with its batch
    size as a note.

    Args:
        workload: The objects.
        settings: Settings of the search.
        build: Makes the task of them.
    """

    def __init__(
        self, workload: Workload, settings: Settings, build: BuildTask = build_task
    ) -> None:
        self._workload = workload
        self._settings = settings
        self._build = build
        self._isolation = PutBack(workload, settings, build)
        self._loaded: tuple[LoadedWorker, Loaded] | None = None

    def __enter__(self) -> Self:
        self._isolation.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._isolation.__exit__(*error)
        loaded, self._loaded = self._loaded, None
        if loaded is not None:
            loaded[0].device.release()

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Build the workload and run one step of it."""
        return self._load()[1]

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size; a step that hangs cannot be stopped, but none starts too late."""
        worker, loaded = self._loaded or self._load()
        limits = Limits(budget_bytes=worker.budget.budget_bytes, timeout_s=timeout_s)
        request = TrialRequest(batch_size=batch_size, plan=plan, limits=limits)
        try:
            with self._put_back() as piece:
                trial = worker.measure(request).trial
                piece.has_spoiled = not trial.loss_is_finite
                return trial
        except Exception as error:
            is_users = isinstance(error, WorkloadError) or not isinstance(error, AutobatchError)
            if not is_users or batch_size <= loaded.smallest_batch_size:
                raise
            message = cause_of(error)
            return Trial(batch_size=batch_size, outcome=Outcome.FAILED, message=message)

    def run(self, job: Job[R], *, timeout_s: float | None = None) -> R:
        """Carry out a job.

        Raises:
            WorkloadError: If memory ran out.
        """
        worker = (self._loaded or self._load())[0]
        limits = Limits(budget_bytes=worker.budget.budget_bytes, timeout_s=timeout_s)
        with self._put_back():
            reply = worker.run(JobRequest(job=job, limits=limits))
        if isinstance(reply, Crash):
            return job.from_crash(reply)
        result: R = reply.result
        return result

    def _load(self) -> tuple[LoadedWorker, Loaded]:
        settings = self._settings
        device = select_device(settings.device)
        with self._put_back() as piece:
            self._loaded = load(
                lambda: self._build(self._workload, settings), settings, device, self._isolation
            )
            piece.has_spoiled = not self._loaded[1].loss_is_finite
        return self._loaded

    @contextmanager
    def _put_back(self) -> Iterator[Piece]:
        try:
            with self._isolation.piece() as piece:
                yield piece
        except WorkFailed as error:
            raise WorkloadError(error.failure.message, hint=error.failure.hint) from None

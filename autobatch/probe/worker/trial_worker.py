"""Loads a workload and runs trials of it, as far as may be in processes of their own."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from autobatch.devices.base import Device
from autobatch.devices.cpu import CpuDevice, count_usable_cores
from autobatch.devices.host import HostMemory, open_pinned
from autobatch.devices.meter import ProcessMeter
from autobatch.devices.pinned import PinnedMemory
from autobatch.devices.select import select_device
from autobatch.errors import DeviceError, DeviceLostError, SettingsError
from autobatch.noise.measure import require_real_data
from autobatch.probe.isolation.saved_state import SavedState
from autobatch.probe.protocol import (
    Failure,
    Loaded,
    LoadRequest,
    Reply,
    Request,
    TimingPlan,
    TrialReply,
    TrialRequest,
)
from autobatch.probe.trial.compiled import is_compiled
from autobatch.probe.trial.host import describe, held_against, with_meter
from autobatch.probe.trial.run import run_trial
from autobatch.probe.worker.endings import to_failure, to_lost_device, trial_of_the_dead
from autobatch.probe.worker.loading import load_before_forks
from autobatch.records import Environment, MemoryBudget, Settings, Trial, Unknown
from autobatch.workload.batches import BatchSource, LoaderSource
from autobatch.workload.task import TrainingTask, load_task

_ON_LINUX = sys.platform == "linux"
if _ON_LINUX:
    from autobatch.devices import linux
    from autobatch.probe.isolation.child import ChildDied, meter_child, run_in_child

NEEDS_TWO = "Expected more than 1 value per channel"
_REHEARSAL = TimingPlan(num_warmup_steps=1, min_steps=1, max_time_s=0.0)
# A scan ends by itself after seconds, unless one sample takes forever.
_SCAN_TIMEOUT_S = 60.0


class TrialWorker:
    """Answers requests for trials. One workload in its life.

    Args:
        select: Opens a device by its name.
        uses_kernel: Whether to ask the kernel for host memory, as Linux lets one; else sample.
    """

    def __init__(
        self, select: Callable[[str], Device] = select_device, *, uses_kernel: bool = _ON_LINUX
    ) -> None:
        self._select = select
        self._uses_kernel = uses_kernel
        self._task: TrainingTask | None = None
        self._device: Device | None = None
        self._settings = Settings()
        self._num_threads = torch.get_num_threads()
        self._file_pages: list[int] = []
        self._pinned: PinnedMemory | Unknown | None = None
        self._meter: ProcessMeter | None = None
        self._kept: SavedState | None = None

    def answer(self, request: Request) -> Reply:
        """Carry out a request; every exception becomes a ``Failure``."""
        try:
            return self._answer(request)
        except BaseException as error:  # the user's code may raise SystemExit, too
            return self._fail(error)

    def _answer(self, request: Request) -> Reply:
        if isinstance(request, LoadRequest):
            return self._load(request)
        assert isinstance(request, TrialRequest)
        return self._run(request)

    def _load(self, request: LoadRequest) -> Reply:
        settings = self._settings = request.settings
        device = self._device = self._select_device(settings.device)
        reason = device.unsupported_reason(settings.precision)
        if reason:
            raise DeviceError(
                f"`precision={settings.precision.value}` cannot be used: {reason}",
                hint="use `precision=bf16` or `precision=fp32`",
            )
        if device.can_fork:
            self._num_threads = load_before_forks(lambda: self._load_task(request))
            self._file_pages = self._find_file_pages()
        else:
            self._load_task(request)
        assert self._task is not None
        if request.keeps_weights:
            model = self._task.model.to(device.name)
            self._kept = SavedState([model, self._task.built.optimizer], [])
        failure = self._scan_lengths(self._task.source)
        if failure is not None:
            return failure
        if settings.wants_noise:
            require_real_data(self._task)
        self._pinned = open_pinned(device.name)
        budget = MemoryBudget.from_bounds(
            device.bounds(settings.memory_limit_bytes),
            headroom_fraction=settings.headroom_fraction,
        )
        host_budget = self._find_host_budget(settings.headroom_fraction)
        smallest, failure = self._rehearse(budget, host_budget)
        if failure is not None:
            return failure
        with device.enforce(budget.budget_bytes) as is_enforced:
            pass
        return Loaded(
            workload=replace(
                self._task.summarize(self._num_threads), is_compiled=is_compiled(self._task.model)
            ),
            environment=self._describe_environment(device),
            device=device.name,
            budget=budget,
            memory_is_enforced=is_enforced,
            peak_uncertainty_fraction=device.peak_uncertainty_fraction,
            smallest_batch_size=smallest,
            host_budget=host_budget,
        )

    def _scan_lengths(self, source: BatchSource) -> Failure | None:
        """Look for the longest samples; in a child, since what reading them takes may stay."""
        if not isinstance(source, LoaderSource):
            return None
        if not self._scans_apart:
            source.keep_lengths(source.scan(self._settings.seed))
            return None

        def attempt() -> Any:
            torch.set_num_threads(1)  # as in a loader's worker: a fork has no other threads
            try:
                return source.scan(self._settings.seed)
            except BaseException as error:
                return self._fail(error)

        found = run_in_child(attempt, timeout_s=_SCAN_TIMEOUT_S)
        if isinstance(found, Failure):
            return found
        if not isinstance(found, ChildDied):
            source.keep_lengths(found)
        return None

    def _find_host_budget(self, headroom_fraction: float) -> MemoryBudget | None:
        assert self._device is not None
        if self._device.name == "cpu":
            return None
        return MemoryBudget.from_bounds(
            CpuDevice().bounds(None), headroom_fraction=headroom_fraction
        )

    def _load_task(self, request: LoadRequest) -> None:
        self._task = load_task(request.target, request.settings)

    @property
    def _scans_apart(self) -> bool:
        return _ON_LINUX

    def _select_device(self, name: str) -> Device:
        return self._select(name)

    def _find_file_pages(self) -> list[int]:
        return linux.find_resident_file_pages()

    def _fail(
        self, error: BaseException, *, doing: str = "", batch_size: int | None = None
    ) -> Failure:
        if batch_size is not None:
            doing = f"in a trial at batch size {batch_size}"
        return to_failure(error, doing=doing)

    def _rehearse(
        self, budget: MemoryBudget, host_budget: MemoryBudget | None
    ) -> tuple[int, Failure | None]:
        """Run the smallest size once, to find what is wrong and what has to be guessed."""
        assert self._task is not None
        batch_size, num_samples = self._settings.min_batch_size, self._task.source.dataset_size
        if num_samples is not None and num_samples < batch_size:
            raise SettingsError(
                f"`min_batch_size={batch_size}` is more than the dataset's {num_samples} samples",
                hint="lower `min_batch_size`",
            )
        reply = self._attempt(batch_size, budget, host_budget)
        if isinstance(reply, Failure) and NEEDS_TWO in reply.message and batch_size == 1:
            batch_size = 2
            reply = self._attempt(batch_size, budget, host_budget)
        if isinstance(reply, TrialReply) and reply.lost_device is not None:
            reply = reply.lost_device
        return batch_size, reply if isinstance(reply, Failure) else None

    def _attempt(
        self, batch_size: int, budget: MemoryBudget, host_budget: MemoryBudget | None
    ) -> Reply:
        request = TrialRequest(
            batch_size=batch_size,
            budget_bytes=budget.budget_bytes,
            host_budget_bytes=host_budget.budget_bytes if host_budget else None,
            plan=_REHEARSAL,
            timeout_s=self._settings.trial_timeout_s,
        )
        return self._run(request)

    def _run(self, request: TrialRequest) -> Reply:
        assert self._task is not None and self._device is not None
        if request.plan.is_confirmation:
            request = self._with_what_is_left(request)
        if not self._device.can_fork:
            return self._measure_here(request)
        result = run_in_child(
            lambda: self._measure_in_child(request),
            budget_bytes=request.budget_bytes,
            timeout_s=request.timeout_s,
            meter=self._make_meter,
        )
        if isinstance(result, ChildDied):
            trial = self._as_metered(trial_of_the_dead(request, result), request)
            if result.was_over_budget:
                reason = describe(trial, request.budget_bytes, is_on_host=True)
                trial = replace(trial, message=f"ended when its {reason}")
            return TrialReply(trial=trial)
        reply: Reply
        reply, self._task.loss.description, self._task.loss.guess = result
        if isinstance(reply, TrialReply):
            reply = replace(reply, trial=self._as_metered(reply.trial, request))
        return reply

    def _measure_here(self, request: TrialRequest) -> Reply:
        reply = self._measure(request)[0]
        is_lost = isinstance(reply, TrialReply) and reply.lost_device is not None
        if self._kept is not None and not is_lost:
            self._kept.restore()
        return reply

    def _make_meter(self, pid: int) -> ProcessMeter:
        self._meter = meter_child(pid)
        return self._meter

    def _as_metered(self, trial: Trial, request: TrialRequest) -> Trial:
        assert self._meter is not None
        trial = with_meter(trial, self._meter, is_on_host=True)
        return held_against(trial, request.budget_bytes, is_on_host=True)

    def _with_what_is_left(self, request: TrialRequest) -> TrialRequest:
        # Headroom is there for what others take meanwhile; beyond it the budget gives way.
        assert self._device is not None
        left = MemoryBudget.from_bounds(
            self._device.bounds(self._settings.memory_limit_bytes), headroom_fraction=0.0
        )
        host_budget_bytes, host_left = request.host_budget_bytes, self._find_host_budget(0.0)
        if host_budget_bytes is not None and host_left is not None:
            host_budget_bytes = min(host_budget_bytes, host_left.budget_bytes)
        return replace(
            request,
            budget_bytes=min(request.budget_bytes, left.budget_bytes),
            host_budget_bytes=host_budget_bytes,
        )

    def _measure_in_child(self, request: TrialRequest) -> Any:
        self._settle_in_child()
        return self._measure(request)

    def _settle_in_child(self) -> None:
        linux.touch(self._file_pages)
        torch.set_num_threads(self._num_threads)

    def _measure(self, request: TrialRequest) -> tuple[Reply, str, str]:
        assert self._task is not None and self._device is not None
        reply: Reply
        try:
            trial = run_trial(
                self._task,
                self._device,
                request,
                precision=self._settings.precision,
                seed=self._settings.seed,
                host=HostMemory(
                    self._pinned,
                    template_pid=os.getppid() if self._device.can_fork else None,
                    uses_kernel=self._uses_kernel,
                ),
            )
            reply = TrialReply(trial=trial)
        except DeviceLostError as error:
            reply = to_lost_device(error, request.batch_size)
        except BaseException as error:
            reply = self._fail(error, batch_size=request.batch_size)
        return reply, self._task.loss.description, self._task.loss.guess

    def _describe_environment(self, device: Device) -> Environment:
        return Environment(
            device_name=device.hardware_name(),
            driver_version=device.driver_version(),
            torch_version=str(torch.__version__),
            python_version=platform.python_version(),
            platform=f"{platform.system()} {platform.machine()}",
            num_cores=count_usable_cores(),
            isolation="process" if device.can_fork else "shared",
            variables=self._settings.variables,
        )

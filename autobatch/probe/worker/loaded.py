"""A workload that has been loaded, and the work that is done on it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from autobatch.devices.base import Device
from autobatch.devices.cpu import CpuDevice
from autobatch.devices.host import HostMemory
from autobatch.devices.pinned import PinnedMemory
from autobatch.errors import SettingsError, message_of
from autobatch.probe.isolation.base import Ended, Isolation
from autobatch.probe.isolation.endings import WorkFailed
from autobatch.probe.protocol import (
    Crash,
    JobContext,
    JobReply,
    JobRequest,
    Limits,
    TimingPlan,
    TrialReply,
    TrialRequest,
)
from autobatch.probe.trial.host import describe, held_against, with_meter
from autobatch.probe.trial.run import run_trial
from autobatch.records import MemoryBudget, Outcome, Settings, Trial, Unknown
from autobatch.workload.loss import LossFacts
from autobatch.workload.task import TrainingTask

_NEEDS_TWO = "Expected more than 1 value per channel"
_REHEARSAL = TimingPlan(num_warmup_steps=1, min_steps=1, max_time_s=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedWorker:
    """Answers requests about one workload.

    Attributes:
        task: The workload.
        device: Where it is trained.
        settings: Settings of the search.
        isolation: Keeps one piece of work apart from the next.
        budget: Memory that a piece of work may use.
        host_budget: Host memory that it may use, where that is not the same budget.
        pinned: Pinned memory; ``None`` where nothing is pinned, or why it cannot be told.
        uses_kernel: Whether to ask the kernel for host memory, as Linux lets one; else sample.
        is_mid_training: Whether the optimizer had made steps before.
        tell: Receives how far a long piece of work is, also from a child that does it.
    """

    task: TrainingTask
    device: Device
    settings: Settings
    isolation: Isolation
    budget: MemoryBudget
    host_budget: MemoryBudget | None
    pinned: PinnedMemory | Unknown | None
    uses_kernel: bool = sys.platform == "linux"
    is_mid_training: bool = False
    tell: Callable[[str], None] = lambda doing: None

    def answer(self, request: TrialRequest | JobRequest) -> TrialReply | JobReply | Crash:
        """Carry out a request.

        Raises:
            WorkFailed: If the user's code raised, or another exception where it passes through.
        """
        if isinstance(request, TrialRequest):
            return self.measure(request)
        return self.run(request)

    def run(self, request: JobRequest) -> JobReply | Crash:
        """Carry out a job."""
        context = self._make_context(request.limits, request.job.doing)
        result = self.isolation.run(request.job.run, context).result
        return result if isinstance(result, Crash) else JobReply(result=result)

    def measure(self, request: TrialRequest) -> TrialReply:
        """Run one batch size.

        A GPU's cap leaves what its driver holds when the trial begins. If kernels that were loaded
        meanwhile are why it ends over budget, they are there when it begins again.
        """
        reply = self._measure_once(request)
        trial = reply.trial
        is_over = trial.outcome is Outcome.OVER_BUDGET and trial.peak_reserved_bytes is not None
        return self._measure_once(request) if is_over else reply

    def _measure_once(self, request: TrialRequest) -> TrialReply:
        batch_size, plan = request.batch_size, request.plan
        noun = self.settings.along.noun
        context = self._make_context(request.limits, f"in a trial at {noun} {batch_size}")
        context = replace(context, num_threads=plan.num_threads)
        if plan.is_confirmation:
            context = replace(context, limits=self._within_what_is_left(context.limits))
        ended = self.isolation.run(
            lambda context: self._run_trial(context, batch_size, plan), context
        )
        if isinstance(ended.result, Crash):
            reply = TrialReply.from_crash(batch_size, ended.result)
        else:
            trial, self.task.loss.facts = ended.result
            reply = TrialReply(trial=trial)
        trial = _with_what_was_seen(reply.trial, ended, context.limits.budget_bytes)
        return replace(reply, trial=_without(trial, self.isolation.own_bytes))

    def rehearse(self) -> Trial:
        """Run the smallest size once, to find errors early and to settle guesses.

        Returns:
            The trial of the smallest size that can be trained with at all.

        Raises:
            SettingsError: If the dataset has fewer samples than the smallest size.
        """
        batch_size, num_samples = self.settings.first_batch_size, self.task.source.dataset_size
        if num_samples is not None and num_samples < batch_size:
            name, hint = f"`min_batch_size={batch_size}`", "lower `min_batch_size`"
            if batch_size > self.settings.min_batch_size:
                grid = f"`grid=multiple:{self.settings.grid_multiple}`"
                name, hint = f"{grid} begins at {batch_size}, which", "use a smaller multiple"
            raise SettingsError(
                f"{name} is more than the dataset's {num_samples} samples", hint=hint
            )
        try:
            return self._rehearse_at(batch_size)
        except Exception as error:
            if batch_size > 1 or _NEEDS_TWO not in message_of(error):
                raise
        return self._rehearse_at(2)

    def _rehearse_at(self, batch_size: int) -> Trial:
        limits = Limits(
            budget_bytes=self.budget.budget_bytes,
            host_budget_bytes=self.host_budget.budget_bytes if self.host_budget else None,
            timeout_s=self.settings.trial_timeout_s,
        )
        request = TrialRequest(batch_size=batch_size, plan=_REHEARSAL, limits=limits)
        reply = self.measure(request)
        if reply.lost_device is not None:
            raise WorkFailed(reply.lost_device)
        return reply.trial

    def _make_context(self, limits: Limits, doing: str) -> JobContext:
        own_bytes = self.isolation.own_bytes
        return JobContext(
            task=self.task,
            device=self.device,
            precision=self.settings.precision,
            seed=self.settings.seed,
            limits=replace(limits, budget_bytes=limits.budget_bytes + own_bytes),
            is_apart=self.isolation.is_apart,
            is_mid_training=self.is_mid_training,
            doing=doing,
            smallest_batch_size=max(2, self.settings.first_batch_size),
            tell=self.tell,
        )

    def _within_what_is_left(self, limits: Limits) -> Limits:
        # Headroom covers what others take meanwhile; beyond it the budget shrinks.
        left = MemoryBudget.from_bounds(
            self.device.bounds(self.settings.memory_limit_bytes), headroom_fraction=0.0
        )
        host_budget_bytes, host_left = limits.host_budget_bytes, find_host_budget(self.device, 0.0)
        if host_budget_bytes is not None and host_left is not None:
            host_budget_bytes = min(host_budget_bytes, host_left.budget_bytes)
        return replace(
            limits,
            budget_bytes=min(limits.budget_bytes, left.budget_bytes),
            host_budget_bytes=host_budget_bytes,
        )

    def _run_trial(
        self, context: JobContext, batch_size: int, plan: TimingPlan
    ) -> tuple[Trial, LossFacts]:
        template_pid = os.getppid() if context.is_apart else None
        host = HostMemory(self.pinned, template_pid=template_pid, uses_kernel=self.uses_kernel)
        trial = run_trial(context, batch_size, plan, host=host)
        return trial, context.task.loss.facts


def find_host_budget(device: Device, headroom_fraction: float) -> MemoryBudget | None:
    """Find the budget of host memory beside that of a device.

    Args:
        device: The device of the trials.
        headroom_fraction: Fraction of the memory to keep free.

    Returns:
        The budget; ``None`` if the device's memory is the host's.
    """
    if device.name == "cpu":
        return None
    return MemoryBudget.from_bounds(CpuDevice().bounds(None), headroom_fraction=headroom_fraction)


def _with_what_was_seen(trial: Trial, ended: Ended[object], budget_bytes: int) -> Trial:
    """The trial with what its child was seen to hold."""
    if ended.meter is None:
        return trial
    trial = with_meter(trial, ended.meter, is_on_host=True)
    if isinstance(ended.result, Crash) and trial.outcome is Outcome.OVER_BUDGET:
        reason = describe(trial, budget_bytes, is_on_host=True)
        return replace(trial, message=f"ended when its {reason}")
    return held_against(trial, budget_bytes, is_on_host=True)


def _without(trial: Trial, own_bytes: int) -> Trial:
    """The trial without memory that was not the training's."""
    peak = trial.peak_bytes
    return replace(
        trial,
        peak_bytes=None if peak is None else max(0, peak - own_bytes),
        window_peaks_bytes=tuple(max(0, peak - own_bytes) for peak in trial.window_peaks_bytes),
    )

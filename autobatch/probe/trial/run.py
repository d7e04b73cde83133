"""Running one batch size in this process."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from autobatch.decide.leak import needs_more_steps
from autobatch.devices.base import CpuUse, PeakReading, highest
from autobatch.devices.host import HostMemory, HostReading, open_pinned
from autobatch.devices.sticky import is_sticky
from autobatch.devices.watch import DeviceWatch, watch_device
from autobatch.errors import DeviceLostError, first_line_of
from autobatch.probe.protocol import JobContext, Limits, Purpose, TimingPlan
from autobatch.probe.trial.compiled import is_compiled, run_eagerly
from autobatch.probe.trial.evaluation import EvaluationStep, check_evaluation
from autobatch.probe.trial.host import held_against, with_reading
from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.probe.trial.rare import RareParts
from autobatch.probe.trial.start import drop_gradients_at_end, start_anew
from autobatch.probe.trial.step import TrainingStep
from autobatch.probe.trial.timing import time_chains, time_steps, warm_up
from autobatch.probe.trial.worst import make_worst_batch
from autobatch.records import Outcome, TimingRound, Trial, Unknown

_LONG_ENOUGH_S = 0.1
# Each look is a call to the driver, between two steps.
_LOOK_INTERVAL_S = 0.1
# From the start of a trial; later, no more steps are run to see whether memory keeps growing.
_LEAK_TIME_S = 20.0


def run_trial(
    context: JobContext,
    batch_size: int,
    plan: TimingPlan,
    *,
    watch: DeviceWatch | None = None,
    host: HostMemory | None = None,
) -> Trial:
    """Run one batch size and measure it.

    Out of memory is an outcome; any other exception passes through with the batch size added
    as a note.

    Args:
        context: What to train, where, and the memory budget.
        batch_size: The size.
        plan: What to run, and how long to time it.
        watch: Reads throttling; the device's own if left out.
        host: Reads host memory; that of this process if left out.

    Raises:
        DeviceLostError: If this process can no longer use the device. It was not touched again.
    """
    task, device, limits = context.task, context.device, context.limits
    start_anew(device, context.seed)
    steps = _Steps(context, watch or watch_device(device.name), plan.num_passes)
    host = host or HostMemory(open_pinned(device.name))
    host.reset_peak()
    device.reset_peak()
    with drop_gradients_at_end(task.built.optimizer):
        try:
            with device.enforce(limits.budget_bytes):
                with context.pace.training():
                    measured = steps.run(batch_size, plan)
                reading = device.read_peak()
                if plan.is_confirmation:
                    measured = steps.check_evaluation(measured)
        except Exception as error:
            measured = _failed_trial(error, batch_size, context.doing, steps.rare.doing)
            measured = replace(measured, loss_is_finite=steps.loss_is_finite)
            reading = device.read_peak()
        held = host.read()  # loader workers live until the steps are dropped
    reading = highest((*steps.window_readings, reading))
    measured = _with_memory(measured, limits, reading, held, is_on_host=device.name == "cpu")
    return context.pace.complete(measured)


def _with_memory(
    trial: Trial,
    limits: Limits,
    reading: PeakReading,
    held: HostReading,
    *,
    is_on_host: bool,
) -> Trial:
    trial = replace(
        trial,
        peak_bytes=reading.peak_bytes or None,
        peak_allocated_bytes=reading.allocated_bytes,
        peak_reserved_bytes=reading.reserved_bytes,
        peak_is_lower_bound=reading.is_lower_bound,
    )
    trial = with_reading(trial, held, is_on_host=is_on_host)
    if not is_on_host and trial.fits and (trial.peak_bytes or 0) > limits.budget_bytes:
        trial = replace(trial, outcome=Outcome.OVER_BUDGET)
    host_budget_bytes = limits.budget_bytes if is_on_host else limits.host_budget_bytes
    return held_against(trial, host_budget_bytes, is_on_host=is_on_host)


def _failed_trial(error: Exception, batch_size: int, trial: str, doing: str) -> Trial:
    """Make the trial of a size that ran out of memory, and name what it did besides its steps.

    Any other error is raised again.
    """
    message, trial = first_line_of(error), trial or f"in a trial at batch size {batch_size}"
    # Checked first: from here on the device must be left alone, even its memory readings.
    if is_sticky(error):
        raise DeviceLostError(
            f"{trial.removeprefix('in a trial at ')} left the device unusable: {message}",
            hint="an index or a label out of range is the usual cause; CUDA_LAUNCH_BLOCKING=1 "
            "makes the traceback end at the line",
        ) from error
    if not is_out_of_memory(error):
        if hasattr(error, "add_note"):  # Python 3.11 and later
            error.add_note(trial)
        raise error
    message = f"{doing}: {message}" if doing else message
    return Trial(batch_size=batch_size, outcome=Outcome.OUT_OF_MEMORY, message=message)


class _Steps:
    """Steps of one trial, one after the other."""

    def __init__(
        self,
        context: JobContext,
        watch: DeviceWatch,
        num_passes: int,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        task, device = context.task, context.device
        self._context = context
        self._pace = context.pace
        self._source = task.source
        self._device = device
        self._watch = watch
        self._num_passes = num_passes
        self._train = TrainingStep(task, device.name, context.precision, num_passes=num_passes)
        self._evaluate = EvaluationStep(task, device.name, context.precision)
        self._is_compiled = is_compiled(task.model)
        self._run_step: Callable[[Any], Any] = self._train
        self._clock = clock
        self._batches: Iterator[Any] = iter(())
        self._last_look_s = clock()
        self._step_s = 0.0
        leak_time_s = min(_LEAK_TIME_S, (context.limits.timeout_s or math.inf) / 2)
        self._leak_deadline = clock() + leak_time_s
        self._loss: Any = torch.zeros(())
        self.window_readings: list[PeakReading] = []
        self.rare = RareParts(
            task, device, lambda batch: self._run_step(batch), num_passes, clock, context.pace
        )

    def run(self, batch_size: int, plan: TimingPlan) -> Trial:
        if plan.is_confirmation or plan.runs_compiled:
            return self._run(batch_size, plan)
        with run_eagerly():
            if plan.purpose is Purpose.EVALUATION:
                self._prepare_evaluation(batch_size)
            return self._run(batch_size, plan)

    def check_evaluation(self, trial: Trial) -> Trial:
        with run_eagerly():
            worst = make_worst_batch(self._source, trial.batch_size)
            batch = next(self._batches) if worst is None else worst
            return check_evaluation(trial, self._evaluate, batch, self._context)

    @property
    def loss_is_finite(self) -> bool:
        """Whether the last loss is."""
        return _is_finite(self._loss)

    def _prepare_evaluation(self, batch_size: int) -> None:
        """Have the optimizer make its state; gradients stay, as they do between two epochs."""
        fewest = min(self._context.smallest_batch_size, batch_size)
        self._train(next(self._source.batches(fewest)))
        self._run_step = self._evaluate
        self._device.release()
        self._device.reset_peak()

    def _run(self, batch_size: int, plan: TimingPlan) -> Trial:
        if plan.longest is None:
            self._batches = self._source.batches(batch_size)
        else:
            batch = self._source.worst_batch(batch_size, plan.longest)
            self._batches = itertools.repeat(batch)
        first_step_s = self._time_first_step(plan)
        warmup_begin = self._clock()
        num_warmup_steps = warm_up(self._step, plan, self._clock, self._pace)
        warmup_time_s = self._clock() - warmup_begin
        is_finite = self.loss_is_finite
        self._watch.start()
        num_retries = self._device.count_alloc_retries()
        before, begin = self._device.cpu_use(), self._clock()
        is_slow = self._pace.agree(warmup_time_s > num_warmup_steps * plan.patience_s)
        rounds, peaks = self._run_windows(plan, num_warmup_steps if is_slow else 0)
        after, elapsed_s = self._device.cpu_use(), self._clock() - begin
        reasons = self._watch.stop()
        trial = Trial(
            batch_size=batch_size,
            outcome=Outcome.FITS,
            num_warmup_steps=num_warmup_steps + (first_step_s is not None),
            num_passes=plan.num_passes,
            rounds=rounds,
            window_peaks_bytes=peaks,
            throttle_reasons=None if isinstance(reasons, Unknown) else reasons,
            unknown={"throttle_reasons": reasons.reason} if isinstance(reasons, Unknown) else {},
            loss_is_finite=is_finite and self.loss_is_finite,
        )
        if num_retries is not None:
            num_retries = (self._device.count_alloc_retries() or 0) - num_retries
            per_step = num_retries / len(trial.step_times_s)
            trial = replace(trial, alloc_retries_per_step=per_step)
        if first_step_s is not None:
            compile_time_s = max(0.0, first_step_s - plan.num_passes * (trial.step_time_s or 0.0))
            trial = replace(trial, compile_time_s=compile_time_s)
        if plan.purpose.needs_worst_batch:
            also_ran = self.rare.run(batch_size, is_final=plan.is_confirmation)
            trial = replace(trial, also_ran=also_ran)
        if before is None or after is None:
            return trial
        return replace(
            trial,
            page_faults_per_step=(after.minor_faults - before.minor_faults)
            / len(trial.step_times_s),
            kernel_time_fraction=_kernel_time_fraction(before, after),
            others_busy_cores=self._others_busy_cores(before, after, elapsed_s),
        )

    def _run_windows(
        self, plan: TimingPlan, num_slow_steps: int
    ) -> tuple[tuple[TimingRound, ...], tuple[int, ...]]:
        """Time the steps of a trial, in windows if it is a final run.

        Args:
            plan: Has the number of windows; more follow while memory grows, for a limited time.
            num_slow_steps: Steps of the warm-up if they were so slow that windows have one step
                each: then they are a window too.
        """
        if not plan.is_confirmation:
            return (self._time(plan),), ()
        rounds: list[TimingRound] = []
        counts = [num_slow_steps] if num_slow_steps else []
        peaks = [self._take_peak() for _ in counts]
        while self._pace.agree(
            len(peaks) < plan.num_windows
            or (
                self._clock() < self._leak_deadline
                and (needs_more_steps(peaks, counts) or sum(counts) < self._pace.num_final_steps)
            )
        ):
            rounds.append(self._time(plan))
            counts.append(len(rounds[-1].step_times_s))
            peaks.append(self._take_peak())
        return tuple(rounds), tuple(peaks)

    def _take_peak(self) -> int:
        self.window_readings.append(self._device.read_peak())
        self._device.reset_peak()
        return self.window_readings[-1].peak_bytes or 0

    def _time_first_step(self, plan: TimingPlan) -> float | None:
        """Time the first step of a compiled model, which compiles it."""
        if not (self._is_compiled and (plan.is_confirmation or plan.runs_compiled)):
            return None
        begin = self._clock()
        self._step()
        return self._clock() - begin

    def _time(self, plan: TimingPlan) -> TimingRound:
        if self._device.mark() is None:
            return time_steps(self._step, plan, self._clock, self._look, self._pace)
        step_s = self._step_s
        return time_chains(
            self._launch, self._device, plan, self._clock, self._look, self._pace,
            step_time_s=step_s,
        )  # fmt: skip

    def _step(self) -> float:
        begin = self._clock()
        data_time_s = self._launch()
        self._device.synchronize()
        self._step_s = self._clock() - begin
        return data_time_s

    def _launch(self) -> float:
        data_time_s = 0.0
        for _ in range(self._num_passes):
            begin = self._clock()
            batch = next(self._batches)
            data_time_s += self._clock() - begin
            self._loss = self._run_step(batch)
        return data_time_s

    def _look(self) -> None:
        if self._clock() - self._last_look_s >= _LOOK_INTERVAL_S:
            self._watch.sample()
            self._last_look_s = self._clock()

    def _others_busy_cores(self, before: CpuUse, after: CpuUse, elapsed_s: float) -> float | None:
        # The kernel counts in ticks of 10 ms, and loader workers do not count as others.
        if elapsed_s < _LONG_ENOUGH_S or self._source.num_loader_workers:
            return None
        if before.machine_busy_s is None or after.machine_busy_s is None:
            return None
        busy_s = after.machine_busy_s - before.machine_busy_s
        return max(0.0, (busy_s - _own_time_s(before, after)) / elapsed_s)


def _own_time_s(before: CpuUse, after: CpuUse) -> float:
    user_s = after.user_time_s - before.user_time_s
    return user_s + after.kernel_time_s - before.kernel_time_s


def _kernel_time_fraction(before: CpuUse, after: CpuUse) -> float:
    own_s = _own_time_s(before, after)
    return (after.kernel_time_s - before.kernel_time_s) / own_s if own_s > 0 else 0.0


def _is_finite(loss: Any) -> bool:
    # An evaluation may return anything.
    if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
        return True
    return math.isfinite(float(loss))

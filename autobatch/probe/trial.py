"""Running one batch size in this process."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy
import torch

from autobatch.devices.base import CpuUse, Device
from autobatch.errors import message_of
from autobatch.probe.compiled import is_compiled, run_eagerly
from autobatch.probe.evaluation import EvaluationStep, check_evaluation
from autobatch.probe.oom import is_out_of_memory
from autobatch.probe.protocol import TimingPlan, TrialRequest
from autobatch.probe.step import TrainingStep
from autobatch.probe.timing import time_steps, warm_up
from autobatch.records import Outcome, Precision, TimingRound, Trial
from autobatch.workload.task import TrainingTask

_LONG_ENOUGH_S = 0.1
# The second has the gradients of the first beside it.
_NUM_WORST_STEPS = 2


def run_trial(
    task: TrainingTask, device: Device, request: TrialRequest, *, precision: Precision, seed: int
) -> Trial:
    """Run one batch size and measure it.

    Out of memory is an outcome; any other exception passes through with the batch size added
    as a note.

    Args:
        task: What to train.
        device: Where.
        request: The batch size, the memory budget and how long to time.
        precision: Arithmetic of a step.
        seed: Seed of every random generator.
    """
    seed_everything(seed)
    device.release()
    start_threads()
    steps = _Steps(task, device, precision)
    device.reset_peak()
    try:
        with device.enforce(request.budget_bytes):
            measured = steps.run(request)
            reading = device.read_peak()
            if request.plan.is_confirmation:
                measured = steps.check_evaluation(measured, request)
    except Exception as error:
        if not is_out_of_memory(error):
            if hasattr(error, "add_note"):  # Python 3.11 and later
                error.add_note(f"in a trial at batch size {request.batch_size}")
            raise
        measured = Trial(
            batch_size=request.batch_size,
            outcome=Outcome.OUT_OF_MEMORY,
            message=message_of(error).strip().partition("\n")[0][:300],
        )
        reading = device.read_peak()
    finally:
        task.built.optimizer.zero_grad(set_to_none=True)
    peak_bytes = max((reading.peak_bytes or 0, *measured.window_peaks_bytes)) or None
    is_over = measured.fits and peak_bytes is not None and peak_bytes > request.budget_bytes
    return replace(
        measured,
        outcome=Outcome.OVER_BUDGET if is_over else measured.outcome,
        peak_bytes=peak_bytes,
        peak_allocated_bytes=reading.allocated_bytes,
        peak_reserved_bytes=reading.reserved_bytes,
    )


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch on every device."""
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def start_threads() -> None:
    """Have PyTorch start its threads, while their stacks can still be had."""
    torch.zeros(2**20).add_(1)


class _Steps:
    """Steps of one trial, one after the other."""

    def __init__(
        self,
        task: TrainingTask,
        device: Device,
        precision: Precision,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._source = task.source
        self._device = device
        self._train = TrainingStep(task, device.name, precision)
        self._evaluate = EvaluationStep(task, device.name, precision)
        self._is_compiled = is_compiled(task.model)
        self._run_step: Callable[[Any], Any] = self._train
        self._clock = clock
        self._batches: Iterator[Any] = iter(())
        self._loss: Any = torch.zeros(())

    def run(self, request: TrialRequest) -> Trial:
        if request.plan.is_confirmation:
            return self._run(request)
        with run_eagerly():
            if request.plan.evaluate:
                self._prepare_evaluation(request.batch_size)
            return self._run(request)

    def check_evaluation(self, trial: Trial, request: TrialRequest) -> Trial:
        with run_eagerly():
            worst = self._source.worst_batch(request.batch_size)
            batch = next(self._batches) if worst is None else worst
            budget_bytes = request.budget_bytes
            return check_evaluation(trial, self._evaluate, batch, self._device, budget_bytes)

    def _prepare_evaluation(self, batch_size: int) -> None:
        """Have the optimizer make its state; gradients stay, as they do between two epochs."""
        self._train(next(self._source.batches(min(2, batch_size))))
        self._run_step = self._evaluate
        self._device.release()
        self._device.reset_peak()

    def _run(self, request: TrialRequest) -> Trial:
        longest = request.plan.longest
        if longest is None:
            self._batches = self._source.batches(request.batch_size)
        else:
            batch = self._source.worst_batch(request.batch_size, longest)
            self._batches = itertools.repeat(batch)
        first_step_s = self._time_first_step(request.plan)
        num_warmup_steps = warm_up(self._step, request.plan, self._clock)
        is_finite = _is_finite(self._loss)
        before, begin = self._device.cpu_use(), self._clock()
        rounds, peaks = self._run_windows(request.plan)
        after, elapsed_s = self._device.cpu_use(), self._clock() - begin
        trial = Trial(
            batch_size=request.batch_size,
            outcome=Outcome.FITS,
            num_warmup_steps=num_warmup_steps + (first_step_s is not None),
            rounds=rounds,
            window_peaks_bytes=peaks,
            loss_is_finite=is_finite and _is_finite(self._loss),
        )
        if first_step_s is not None:
            compile_time_s = max(0.0, first_step_s - (trial.step_time_s or 0.0))
            trial = replace(trial, compile_time_s=compile_time_s)
        if request.plan.round_number == 0 and longest is None:
            self._run_worst(request.batch_size)
        if before is None or after is None:
            return trial
        return replace(
            trial,
            page_faults_per_step=(after.minor_faults - before.minor_faults)
            / len(trial.step_times_s),
            kernel_time_fraction=_kernel_time_fraction(before, after),
            others_busy_cores=self._others_busy_cores(before, after, elapsed_s),
        )

    def _run_windows(self, plan: TimingPlan) -> tuple[tuple[TimingRound, ...], tuple[int, ...]]:
        if plan.num_windows == 1:
            return (time_steps(self._step, plan, self._clock),), ()
        rounds, peaks = [], []
        for _ in range(plan.num_windows):
            rounds.append(time_steps(self._step, plan, self._clock))
            peaks.append(self._device.read_peak().peak_bytes or 0)
            self._device.reset_peak()
        return tuple(rounds), tuple(peaks)

    def _time_first_step(self, plan: TimingPlan) -> float | None:
        """The step in which a compiled model is compiled, by itself."""
        if not (self._is_compiled and plan.is_confirmation):
            return None
        begin = self._clock()
        self._step()
        return self._clock() - begin

    def _run_worst(self, batch_size: int) -> None:
        """Steps on the largest samples: not timed, for what memory they take."""
        batch = self._source.worst_batch(batch_size)
        if batch is None:
            return
        for _ in range(_NUM_WORST_STEPS):
            self._run_step(batch)
        self._device.synchronize()

    def _step(self) -> float:
        begin = self._clock()
        batch = next(self._batches)
        data_time_s = self._clock() - begin
        self._loss = self._run_step(batch)
        self._device.synchronize()
        return data_time_s

    def _others_busy_cores(self, before: CpuUse, after: CpuUse, elapsed_s: float) -> float | None:
        # The machine's clock ticks every 10 ms, and loader workers are no others.
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

"""The process that holds the model and runs trials; the parent only decides.

Requests come in on standard input, replies go out on what was standard output: pickled
records, one after the other. What the user's code prints goes to standard error.
"""

from __future__ import annotations

import io
import os
import pickle
import platform
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO

import torch

from autobatch.devices.base import Device
from autobatch.devices.cpu import count_usable_cores
from autobatch.devices.select import select_device
from autobatch.errors import DeviceError, SettingsError
from autobatch.probe.answers import answer_for_the_dead, carry_out, count_samples
from autobatch.probe.failures import to_failure, trial_of_the_dead
from autobatch.probe.noise import require_real_data
from autobatch.probe.protocol import (
    Failure,
    Loaded,
    LoadRequest,
    NoiseRequest,
    Reply,
    Request,
    SplitRequest,
    TimingPlan,
    TrainRequest,
    TrialReply,
    TrialRequest,
)
from autobatch.probe.trial import run_trial
from autobatch.records import Environment, MemoryBudget, Settings
from autobatch.workload.task import TrainingTask, load_task

_ON_LINUX = sys.platform == "linux"
if _ON_LINUX:
    from autobatch.devices import linux
    from autobatch.probe.isolate import ChildDied, run_in_child

_NEEDS_TWO = "Expected more than 1 value per channel"
_REHEARSAL = TimingPlan(num_warmup_steps=1, min_steps=1, max_time_s=0.0)


class Worker:
    """Answers requests. One workload in its life."""

    def __init__(self) -> None:
        self._task: TrainingTask | None = None
        self._device: Device | None = None
        self._settings = Settings()
        self._num_threads = torch.get_num_threads()
        self._file_pages: list[int] = []

    def answer(self, request: Request) -> Reply:
        """Carry out a request; every exception becomes a ``Failure``."""
        try:
            if isinstance(request, LoadRequest):
                return self._load(request)
            if isinstance(request, SplitRequest):
                assert self._task is not None
                return count_samples(self._task, self._settings, request)
            if isinstance(request, (NoiseRequest, TrainRequest)):
                return self._run_apart(request)
            return self._run(request)
        except BaseException as error:  # the user's code may raise SystemExit, too
            return to_failure(error)

    def _load(self, request: LoadRequest) -> Reply:
        settings = self._settings = request.settings
        device = self._device = select_device(settings.device)
        reason = device.unsupported_reason(settings.precision)
        if reason:
            raise DeviceError(
                f"--precision {settings.precision.value} cannot be used: {reason}",
                hint="use --precision bf16 or fp32",
            )
        if device.can_fork:
            self._num_threads = _without_threads(lambda: self._load_task(request))
            self._file_pages = linux.find_resident_file_pages()
        else:
            self._load_task(request)
        assert self._task is not None
        if settings.wants_noise:
            require_real_data(self._task)
        budget = MemoryBudget.from_bounds(
            device.bounds(settings.memory_limit_bytes),
            headroom_fraction=settings.headroom_fraction,
        )
        smallest, failure = self._rehearse(budget)
        if failure is not None:
            return failure
        assert self._task is not None
        with device.enforce(budget.budget_bytes) as is_enforced:
            pass
        return Loaded(
            workload=self._task.summarize(self._num_threads),
            environment=self._describe_environment(device),
            device=device.name,
            budget=budget,
            memory_is_enforced=is_enforced,
            peak_uncertainty_fraction=device.peak_uncertainty_fraction,
            smallest_batch_size=smallest,
        )

    def _load_task(self, request: LoadRequest) -> None:
        self._task = load_task(request.target, request.settings)

    def _rehearse(self, budget: MemoryBudget) -> tuple[int, Failure | None]:
        """Run the smallest size once, to find what is wrong and what has to be guessed."""
        assert self._task is not None
        batch_size, num_samples = self._settings.min_batch_size, self._task.source.dataset_size
        if num_samples is not None and num_samples < batch_size:
            raise SettingsError(
                f"--min-batch-size {batch_size} is more than the data set's {num_samples} samples",
                hint="lower --min-batch-size",
            )
        reply = self._attempt(batch_size, budget)
        if isinstance(reply, Failure) and _NEEDS_TWO in reply.message and batch_size == 1:
            batch_size = 2
            reply = self._attempt(batch_size, budget)
        return batch_size, reply if isinstance(reply, Failure) else None

    def _attempt(self, batch_size: int, budget: MemoryBudget) -> Reply:
        request = TrialRequest(
            batch_size=batch_size,
            budget_bytes=budget.budget_bytes,
            plan=_REHEARSAL,
            timeout_s=self._settings.trial_timeout_s,
        )
        return self._run(request)

    def _run(self, request: TrialRequest) -> Reply:
        assert self._task is not None and self._device is not None
        if request.plan.num_windows > 1:
            request = self._with_what_is_left(request)
        if not self._device.can_fork:
            return self._measure(request)[0]
        result = run_in_child(
            lambda: self._measure_in_child(request),
            budget_bytes=request.budget_bytes,
            timeout_s=request.timeout_s,
        )
        if isinstance(result, ChildDied):
            return TrialReply(trial=trial_of_the_dead(request, result))
        reply: Reply
        reply, self._task.loss.description, self._task.loss.guess = result
        return reply

    def _with_what_is_left(self, request: TrialRequest) -> TrialRequest:
        # Headroom is there for what others take meanwhile; beyond it the budget gives way.
        assert self._device is not None
        left = MemoryBudget.from_bounds(
            self._device.bounds(self._settings.memory_limit_bytes), headroom_fraction=0.0
        )
        return replace(request, budget_bytes=min(request.budget_bytes, left.budget_bytes))

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
            )
            reply = TrialReply(trial=trial)
        except BaseException as error:
            reply = to_failure(error, doing=f"in a trial at batch size {request.batch_size}")
        return reply, self._task.loss.description, self._task.loss.guess

    def _run_apart(self, request: NoiseRequest | TrainRequest) -> Reply:
        """Answer in a child that may die of it, where there are children."""
        assert self._task is not None and self._device is not None
        task, device = self._task, self._device

        def answer_in_child() -> Reply:
            self._settle_in_child()
            return carry_out(task, device, self._settings, request)

        if not device.can_fork:
            return carry_out(task, device, self._settings, request)
        result = run_in_child(
            answer_in_child, budget_bytes=request.budget_bytes, timeout_s=request.timeout_s
        )
        if isinstance(result, ChildDied):
            return answer_for_the_dead(request, result)
        reply: Reply = result
        return reply

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


def main() -> None:
    """Answer requests until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    parent_pid = int(sys.argv.pop())
    if _ON_LINUX:
        linux.die_with_parent()
        if os.getppid() != parent_pid:  # it died first, while PyTorch was being imported
            return
    requests, replies = _take_pipes()
    worker = Worker()
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(worker.answer(request), replies)
        replies.flush()


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    requests = os.fdopen(os.dup(0), "rb")
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    # Lines as they come: neither a trial's child nor a worker that is ended flushes a buffer.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    return requests, replies


def _without_threads(load: Callable[[], None]) -> int:
    """Run ``load`` without OpenMP threads, which a forked child could not use.

    Returns:
        The number of threads that a trial is to use: the user's own choice if ``load`` made
        one, else PyTorch's.
    """
    chosen = torch.get_num_threads()
    set_num_threads = torch.set_num_threads

    def remember(num_threads: int) -> None:
        nonlocal chosen
        chosen = num_threads

    set_num_threads(1)
    torch.set_num_threads = remember  # type: ignore[assignment]
    try:
        load()
    finally:
        torch.set_num_threads = set_num_threads
    return chosen

"""The process that holds the model and does the work; the parent only decides.

Requests come in on standard input, replies go out on what was standard output: pickled
records, one after the other. What the user's code prints goes to standard error.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from autobatch.compare.split import split_data
from autobatch.compare.training import train_slice
from autobatch.noise.measure import measure_noise
from autobatch.probe.protocol import (
    NoiseReply,
    NoiseRequest,
    Reply,
    Request,
    SplitReply,
    SplitRequest,
    TrainRequest,
)
from autobatch.probe.worker.endings import (
    noise_failure_of_the_dead,
    training_of_the_dead,
)
from autobatch.probe.worker.trial_worker import TrialWorker

_ON_LINUX = sys.platform == "linux"
if _ON_LINUX:
    from autobatch.devices import linux
    from autobatch.probe.isolation.child import ChildDied, run_in_child

_R = TypeVar("_R", NoiseRequest, TrainRequest)


class Worker(TrialWorker):
    """Answers every request. One workload in its life."""

    def _answer(self, request: Request) -> Reply:
        if isinstance(request, NoiseRequest):
            doing = "while the gradient noise scale was measured"
            return self._run_apart(request, self._measure_noise, doing, noise_failure_of_the_dead)
        if isinstance(request, TrainRequest):
            doing = "while it was trained"
            return self._run_apart(request, self._train, doing, training_of_the_dead)
        if isinstance(request, SplitRequest):
            return self._count_samples(request)
        return super()._answer(request)

    def _measure_noise(self, request: NoiseRequest) -> Reply:
        assert self._task is not None and self._device is not None
        precision, seed = self._settings.precision, self._settings.seed
        noise = measure_noise(self._task, self._device, request, precision=precision, seed=seed)
        return NoiseReply(noise=noise)

    def _train(self, request: TrainRequest) -> Reply:
        assert self._task is not None and self._device is not None
        precision, seed = self._settings.precision, self._settings.seed
        return train_slice(self._task, self._device, request, precision=precision, seed=seed)

    def _count_samples(self, request: SplitRequest) -> Reply:
        assert self._task is not None
        split = split_data(
            self._task.source,
            validation_fraction=request.validation_fraction,
            num_folds=request.num_folds,
            fold=0,
            seed=self._settings.seed,
        )
        return SplitReply(num_train_samples=split.num_train_samples)

    def _run_apart(
        self,
        request: _R,
        work: Callable[[_R], Reply],
        doing: str,
        describe: Callable[[_R, ChildDied], Reply],
    ) -> Reply:
        """Do a piece of work in a child that may die of it, where there are children."""
        assert self._device is not None

        def attempt() -> Reply:
            try:
                return work(request)
            except BaseException as error:
                return self._fail(error, doing=doing)

        def attempt_in_child() -> Reply:
            self._settle_in_child()
            return attempt()

        if not self._device.can_fork:
            return attempt()
        result = run_in_child(
            attempt_in_child, budget_bytes=request.budget_bytes, timeout_s=request.timeout_s
        )
        if isinstance(result, ChildDied):
            return describe(request, result)
        reply: Reply = result
        return reply


def main(worker: Worker | None = None) -> None:
    """Be a worker: the whole life of a process.

    Args:
        worker: Who answers; another one in tests.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    parent_pid = int(sys.argv.pop())
    if _ON_LINUX:
        linux.die_with_parent()
        if os.getppid() != parent_pid:  # it died first, while PyTorch was being imported
            return
    serve(worker or Worker(), *_take_pipes())


def serve(worker: Worker, requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer requests until there are no more."""
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

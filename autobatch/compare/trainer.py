"""The parent's end of training for real."""

from __future__ import annotations

from typing import Protocol

from autobatch import errors
from autobatch.compare.records import RunOutcome
from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import Loaded, SplitReply, SplitRequest, TrainReply, TrainRequest
from autobatch.probe.trial.host import HostBudgetError
from autobatch.units import format_seconds


class Trainer(Protocol):
    """Whoever can load a workload and train it at a batch size."""

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Build the workload and run one step of it."""

    def count_train_samples(self, request: SplitRequest) -> int | None:
        """Samples of an epoch, ``None`` if the data does not tell.

        Raises:
            AutobatchError: If the data cannot be split so.
        """

    def train(self, request: TrainRequest) -> TrainReply:
        """Train some epochs; what ends a run is an outcome.

        Raises:
            AutobatchError: If no run can be trained so.
        """


class TargetTrainer(TargetProber):
    """Trains a target in worker processes; a context manager, as ``TargetProber``."""

    def count_train_samples(self, request: SplitRequest) -> int | None:
        """Ask the worker, which has the data."""
        reply = self._exchange(request)
        if isinstance(reply, SplitReply):
            return reply.num_train_samples
        raise self._to_error(reply, "while the dataset was split")

    def train(self, request: TrainRequest) -> TrainReply:
        """Train in the worker; one that dies of it is replaced for the next request."""
        if self._worker is None:
            self.load()
        watch = self._watch(request)
        try:
            reply = self._exchange(request, watch)
        except TimeoutError:
            self._end_worker()
            message = f"no end after {format_seconds(request.timeout_s or 0.0)}"
            return TrainReply(outcome=RunOutcome.KILLED, message=message)
        except HostBudgetError:
            assert watch is not None
            self._end_worker()
            return TrainReply(outcome=RunOutcome.OUT_OF_MEMORY, message=watch.reason)
        if isinstance(reply, TrainReply):
            if reply.device_is_lost:
                self._end_worker()
            return reply
        if reply is not None:
            raise self._to_error(reply, "while it was trained")
        exit_code = self._end_worker()
        if exit_code is None:
            raise errors.WorkerError("the training process is gone", hint="run it again with -v")
        return TrainReply(
            outcome=RunOutcome.KILLED,
            message=f"the process ended with exit status {exit_code}",
        )

"""Real training as a job: the request and its result.

Importing this module does not load PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from autobatch.compare.records import EpochResult, RunOutcome
from autobatch.errors import WorkerError
from autobatch.probe.protocol import Crash, JobContext
from autobatch.records import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitJob:
    """Count the samples of an epoch of a comparison; ``None`` if the data does not tell.

    Attributes:
        validation_fraction: Fraction of the samples that is held out.
    """

    doing: ClassVar[str] = "while the dataset was split"

    validation_fraction: float

    def run(self, context: JobContext) -> int | None:
        """Split the data, and count."""
        from autobatch.compare.split import split_data

        source, seed = context.task.source, context.seed
        return split_data(source, self.validation_fraction, seed).num_train_samples

    def from_crash(self, crash: Crash) -> int | None:
        """Raise: there is no result.

        Raises:
            WorkerError: Always.
        """
        raise WorkerError(
            f"splitting the dataset: {crash.message}",
            hint="run again with -v to see what it printed",
            exit_code=crash.exit_code,
            stderr_tail=crash.stderr_tail,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReply:
    """Some epochs were trained, or training ended otherwise.

    Attributes:
        outcome: ``UNFINISHED`` if it can go on; else what ended it.
        epochs: Epochs that were finished, none of them known before.
        iterations: Iterations whose losses are kept, counted from 1 in the first epoch here.
        losses: Their losses.
        learning_rate: Rate that it trained with; ``None`` if the optimizer has several.
        peak_bytes: Highest memory use while training.
        message: What ended it, or empty.
    """

    outcome: RunOutcome
    epochs: tuple[EpochResult, ...] = ()
    iterations: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    learning_rate: float | None = None
    peak_bytes: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainJob:
    """Train one batch size for some epochs more, for real.

    Attributes:
        batch_size: Samples per optimizer step; ``None`` for the whole training set.
        state_path: File with the weights and the optimizer's state after the last epoch that
            was trained, and for those after this one; if there is none, training begins anew.
        initial_path: File with what all runs begin with; written if there is none.
        num_epochs_done: Epochs behind the state.
        num_epochs: Epochs to come to.
        stop_at_loss: Loss with which training ends earlier, ``None`` for none.
        slice_s: Time after which no further epoch is started.
        rate_multiplier: Factor of the optimizer's learning rates.
        learning_rate: Replaces the optimizer's own rates before that factor.
        validation_fraction: Fraction of the samples that is held out.
    """

    doing: ClassVar[str] = "while it was trained"

    batch_size: int | None
    state_path: str
    initial_path: str
    num_epochs_done: int
    num_epochs: int
    slice_s: float
    rate_multiplier: float
    learning_rate: float | None
    validation_fraction: float
    stop_at_loss: float | None = None

    def run(self, context: JobContext) -> TrainReply:
        """Train."""
        from autobatch.compare.training import train_slice

        return train_slice(context, self)

    def from_crash(self, crash: Crash) -> TrainReply:
        """Make the reply for a run that ended without one."""
        is_memory = crash.outcome is Outcome.OVER_BUDGET
        return TrainReply(
            outcome=RunOutcome.OUT_OF_MEMORY if is_memory else RunOutcome.KILLED,
            peak_bytes=crash.peak_bytes,
            message=crash.message,
        )

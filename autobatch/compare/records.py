"""Several batch sizes, each really trained with, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from statistics import median
from typing import Protocol

from autobatch.errors import SettingsError
from autobatch.records.enums import Regime
from autobatch.records.kinds import BATCH_SIZES, COUNT, FLAG, FRACTION, NUMBER
from autobatch.records.options import check_options, option
from autobatch.records.settings import Settings
from autobatch.records.workload import Environment, WorkloadSummary


class RunOutcome(str, Enum):
    """How a training run ended."""

    FINISHED = "finished"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    FAILED = "failed"
    KILLED = "killed"
    UNFINISHED = "unfinished"


_comparison = partial(option, group="Comparison")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSettings:
    """What to compare. Each field is an option, with its default, kind and help.

    In ``batch_sizes`` ``None`` stands for the whole training set.

    Raises:
        SettingsError: If a value cannot be used; the message repeats it.
    """

    # fmt: off
    batch_sizes: tuple[int | None, ...] = _comparison(
        (1, 32, 256, None), BATCH_SIZES, "Sizes to train with; full is all samples.")
    num_epochs: int = _comparison(10, COUNT, "Epochs of each run.", name="epochs")
    target_loss: float | None = _comparison(
        None, NUMBER, "Say when each size reaches this loss, and choose the one that does first.",
        metavar="LOSS")
    stop_at_target: bool = _comparison(
        False, FLAG, "End each run once it reaches the target loss.")
    validation_fraction: float = _comparison(0.2, FRACTION, "Samples to hold out.")
    tolerance_fraction: float = _comparison(
        0.05, FRACTION, "How far above the lowest loss counts as equal.")
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)
        if len(set(self.batch_sizes)) < len(self.batch_sizes):
            raise SettingsError("`batch_sizes` names a size twice", hint="name each size once")
        if self.stop_at_target and self.target_loss is None:
            raise SettingsError(
                "`stop_at_target` needs `target_loss`", hint="say which loss with `target_loss`"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """One epoch of a run.

    Attributes:
        num_iterations: Optimizer steps, a last, smaller one included.
        time_s: Wall-clock time of the steps, evaluation not counted.
        train_loss: Mean over the samples of the losses that were trained on.
        validation_loss: Mean loss on the samples held out, after the epoch; ``None`` without.
        loss_noise: Spread between neighbouring iterations: root mean square of their
            differences over the square root of 2; ``None`` where there were no two.
    """

    num_iterations: int
    time_s: float
    train_loss: float
    validation_loss: float | None
    loss_noise: float | None

    @property
    def loss(self) -> float:
        """What runs are compared by: the loss on samples held out, where there are any."""
        return self.train_loss if self.validation_loss is None else self.validation_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One batch size, trained with from the weights and the seed that all runs share.

    Attributes:
        batch_size: Samples per optimizer step.
        is_full_batch: Whether that is the whole training set.
        learning_rate: Rate that it trained with; ``None`` if the optimizer has several.
        outcome: How it ended.
        epochs: Those that were finished.
        iterations: Iterations whose loss was kept, from 1.
        losses: Their losses.
        peak_bytes: Highest memory use while training.
        message: What ended it, or empty.
    """

    batch_size: int
    is_full_batch: bool
    learning_rate: float | None
    outcome: RunOutcome
    epochs: tuple[EpochResult, ...] = ()
    iterations: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    peak_bytes: int | None = None
    message: str = ""

    @property
    def regime(self) -> Regime:
        """Stochastic, mini-batch or full-batch."""
        if self.is_full_batch:
            return Regime.FULL_BATCH
        return Regime.STOCHASTIC if self.batch_size == 1 else Regime.MINI_BATCH

    @property
    def is_over(self) -> bool:
        """Whether there is nothing left to train."""
        return self.outcome is not RunOutcome.UNFINISHED

    @property
    def time_s(self) -> float:
        """Time spent training."""
        return sum(epoch.time_s for epoch in self.epochs)

    @property
    def epoch_time_s(self) -> float | None:
        """Median time of an epoch."""
        return median(epoch.time_s for epoch in self.epochs) if self.epochs else None

    @property
    def loss_noise(self) -> float | None:
        """Median over the epochs of the spread between neighbouring iterations."""
        noises = [epoch.loss_noise for epoch in self.epochs if epoch.loss_noise is not None]
        return median(noises) if noises else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was compared, where, and what follows.

    Attributes:
        target: What was trained, as the user named it.
        device: Where.
        settings: Device, memory, precision, learning rate, seed.
        asked: Sizes, epochs, target.
        environment: Hardware and versions.
        workload: What was trained.
        num_train_samples: Samples of an epoch; ``None`` if the data does not tell.
        runs: In the order of the sizes asked for.
        batch_size: The size to choose; ``None`` if no run gives reason to.
        reason: Why.
    """

    target: str
    device: str
    settings: Settings
    asked: CompareSettings
    environment: Environment
    workload: WorkloadSummary
    num_train_samples: int | None
    runs: tuple[TrainingRun, ...]
    batch_size: int | None
    reason: str

    @property
    def is_complete(self) -> bool:
        """Whether every run came to its end."""
        return all(run.is_over for run in self.runs)


class CompareObserver(Protocol):
    """Receives events in the order they happen; must not raise."""

    def comparing(self, workload: WorkloadSummary, device: str, num_runs: int) -> None:
        """The workload is built and the runs are about to start.

        Args:
            workload: What is trained.
            device: Where it is trained.
            num_runs: Runs to make.
        """

    def run_started(self, run: TrainingRun, num_epochs: int) -> None:
        """A run is about to be trained.

        Args:
            run: The run, without an epoch.
            num_epochs: Epochs that it will train at most.
        """

    def run_advanced(self, run: TrainingRun, num_epochs: int) -> None:
        """A run has trained another epoch, or has ended.

        Args:
            run: The run so far.
            num_epochs: Epochs that it will train at most.
        """


class SilentCompareObserver:
    """An observer that says nothing."""

    def comparing(self, workload: WorkloadSummary, device: str, num_runs: int) -> None:
        """Say nothing."""

    def run_started(self, run: TrainingRun, num_epochs: int) -> None:
        """Say nothing."""

    def run_advanced(self, run: TrainingRun, num_epochs: int) -> None:
        """Say nothing."""


def epochs_to_loss(
    epochs: Sequence[EpochResult], loss: float | None
) -> Sequence[EpochResult] | None:
    """The epochs of a run until its loss falls to a given one.

    Args:
        epochs: The epochs of the run, in order.
        loss: The loss to reach.

    Returns:
        ``None`` if the loss is never reached, or none is given.
    """
    if loss is None:
        return None
    counts = (count for count, epoch in enumerate(epochs, 1) if epoch.loss <= loss)
    count = next(counts, None)
    return None if count is None else epochs[:count]

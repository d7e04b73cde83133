"""Several batch sizes, each really trained with, and what came of them."""

from __future__ import annotations

import math
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
    num_folds: int = _comparison(
        1, COUNT, "Cross-validate: each sample is held out in one of N runs.", name="folds")
    tolerance_fraction: float = _comparison(
        0.05, FRACTION, "How far above the lowest loss counts as equal; with folds, one standard "
        "error does.")
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
        fold: Number of the fold that was held out, from 0.
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
    fold: int
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
class SizeSummary:
    """All folds of one batch size together.

    Attributes:
        batch_size: The size.
        outcome: Of its runs, the worst.
        loss: Mean final loss over the folds; ``None`` if one has none.
        standard_error: Of that mean; ``None`` with a single fold.
        time_s: Mean training time.
        epochs_to_target: Mean epochs until the target loss; ``None`` if not all reached it.
        iterations_to_target: Mean iterations.
        seconds_to_target: Mean training time.
    """

    batch_size: int
    outcome: RunOutcome
    loss: float | None
    standard_error: float | None
    time_s: float
    epochs_to_target: float | None
    iterations_to_target: float | None
    seconds_to_target: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What was compared, where, and what follows.

    Attributes:
        target: What was trained, as the user named it.
        device: Where.
        settings: Device, memory, precision, learning rate, seed.
        asked: Sizes, epochs, folds.
        environment: Hardware and versions.
        workload: What was trained.
        num_train_samples: Samples of an epoch; ``None`` if the data does not tell.
        runs: In the order of the sizes asked for, fold by fold.
        summaries: By size, in the same order.
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
    summaries: tuple[SizeSummary, ...]
    batch_size: int | None
    reason: str

    @property
    def is_complete(self) -> bool:
        """Whether every run came to its end."""
        return all(run.is_over for run in self.runs)


class CompareObserver(Protocol):
    """Receives events in the order they happen; must not raise."""

    def comparing(
        self, workload: WorkloadSummary, device: str, num_runs: int, num_folds: int
    ) -> None:
        """The workload is built and the runs are about to start.

        Args:
            workload: What is trained.
            device: Where it is trained.
            num_runs: Runs to make, those of every fold included.
            num_folds: Folds of each batch size.
        """

    def run_advanced(self, run: TrainingRun, num_epochs: int) -> None:
        """A run has trained another epoch, or has ended.

        Args:
            run: The run so far.
            num_epochs: Epochs that it will train at most.
        """


class SilentCompareObserver:
    """An observer that says nothing."""

    def comparing(
        self, workload: WorkloadSummary, device: str, num_runs: int, num_folds: int
    ) -> None:
        """Say nothing."""

    def run_advanced(self, run: TrainingRun, num_epochs: int) -> None:
        """Say nothing."""


def final_loss(run: TrainingRun) -> float | None:
    """The loss that a run came to; ``None`` if it has none, or none that is finite."""
    if not run.epochs or not math.isfinite(run.epochs[-1].loss):
        return None
    return run.epochs[-1].loss


def epochs_to_loss(epochs: Sequence[EpochResult], loss: float | None) -> int | None:
    """Count the epochs until the loss of a run falls to a given one.

    Args:
        epochs: The epochs of the run, in order.
        loss: The loss to reach.

    Returns:
        Epochs, with a fraction; ``None`` if the loss is never reached.
    """
    if loss is None:
        return None
    return next((count for count, epoch in enumerate(epochs, 1) if epoch.loss <= loss), None)

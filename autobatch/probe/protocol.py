"""What the parent asks of a worker, and what a worker answers. All of it can be pickled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from autobatch.compare.records import EpochResult, RunOutcome
from autobatch.records import (
    Environment,
    MemoryBudget,
    NoiseScale,
    Settings,
    Trial,
    WorkloadSummary,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingPlan:
    """How long to time steps.

    Attributes:
        num_warmup_steps: Steps before timing; never below 2, since optimizer state appears in
            the first and gradients stay from then on.
        min_steps: Fewest timed steps.
        max_time_s: Time after which no further step is begun, ``min_steps`` aside.
        precision_fraction: Stop earlier once the median is known this well.
        patience_s: Time after which ``min_steps`` no longer counts: slow steps say enough.
        num_windows: Time the steps in so many parts, each with a peak of its own. More than one
            makes the run a confirmation: it is also held against what memory is left by then.
        slow_step_s: Steps that all take longer than this say enough once ``max_time_s`` is over,
            however few they are: the size is not among the fast ones.
        round_number: 0 for a first run; sizes timed in turn share a number above 0.
        evaluate: Run evaluation steps, after one training step of the smallest batch.
        longest: Run batches of samples of at most this length alone, the longest of them.
    """

    num_warmup_steps: int = 2
    min_steps: int = 3
    max_time_s: float = 0.5
    precision_fraction: float = 0.02
    patience_s: float = 20.0
    num_windows: int = 1
    slow_step_s: float | None = None
    round_number: int = 0
    evaluate: bool = False
    longest: int | None = None

    @property
    def is_confirmation(self) -> bool:
        """Whether the run is the last one, of the size that was chosen."""
        return self.num_windows > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortTraining:
    """Real training before the noise scale is measured, undone afterwards.

    Attributes:
        batch_size: Samples of a step.
        num_steps: Steps at most.
        max_time_s: Time after which no further one is begun.
        rate_multiplier: Factor of the optimizer's learning rates.
        learning_rate: In the place of the optimizer's own rates before that factor.
    """

    batch_size: int
    num_steps: int
    max_time_s: float
    rate_multiplier: float = 1.0
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisePlan:
    """How many gradients to measure the noise scale from, and after which training.

    Attributes:
        micro_batch_size: Samples of each.
        max_micro_batches: Most of them; never more than one pass through the dataset.
        min_micro_batches: Fewest of them, whatever the time.
        max_time_s: Time after which no further one is begun.
        max_blocks: Most sums of gradients to hold at once.
        training: What to train before, ``None`` to measure at the weights that there are.
    """

    micro_batch_size: int
    max_micro_batches: int = 512
    min_micro_batches: int = 16
    max_time_s: float = 10.0
    max_blocks: int = 32
    training: ShortTraining | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """Load a target and say what it is.

    Attributes:
        target: The target, as the user named it.
        settings: Settings of the search.
        keeps_weights: Whether to keep a copy of the model's and the optimizer's state, in the
            host's memory, and put it back after every trial.
    """

    target: str
    settings: Settings
    keeps_weights: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """Run one batch size.

    Attributes:
        batch_size: The size.
        budget_bytes: Memory that it may use.
        host_budget_bytes: Host memory that it may use, where that is not the same budget.
        plan: How long to time steps.
        timeout_s: Give up after this time, ``None`` for never.
    """

    batch_size: int
    budget_bytes: int
    plan: TimingPlan
    timeout_s: float | None = None
    host_budget_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseRequest:
    """Measure the gradient noise scale.

    Attributes:
        plan: From which gradients.
        budget_bytes: Memory that it may use.
        timeout_s: Give up after this time, ``None`` for never.
        host_budget_bytes: Host memory that it may use, where that is not the same budget.
    """

    plan: NoisePlan
    budget_bytes: int
    timeout_s: float | None = None
    host_budget_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRequest:
    """Train one batch size for some epochs more, for real.

    Attributes:
        batch_size: Samples per optimizer step; ``None`` for the whole training set.
        state_path: File with the weights and the optimizer's state after the last epoch that
            was trained, and for those after this one; if there is none, training begins anew.
        initial_path: File with what all runs begin with; written if there is none.
        num_epochs_done: Epochs behind the state.
        num_epochs: Epochs to come to.
        stop_at_loss: Loss with which training ends earlier, ``None`` for none.
        slice_s: Time after which no further epoch is begun.
        rate_multiplier: Factor of the optimizer's learning rates.
        learning_rate: In the place of the optimizer's own rates before that factor.
        validation_fraction: Share of the samples that is held out.
        num_folds: Folds; above 1, the fraction is one over it.
        fold: The one that is held out.
        budget_bytes: Memory that training may use.
        timeout_s: Give up after this time, ``None`` for never.
        host_budget_bytes: Host memory that it may use, where that is not the same budget.
    """

    batch_size: int | None
    state_path: str
    initial_path: str
    num_epochs_done: int
    num_epochs: int
    slice_s: float
    rate_multiplier: float
    learning_rate: float | None
    validation_fraction: float
    num_folds: int
    fold: int
    budget_bytes: int
    timeout_s: float | None = None
    host_budget_bytes: int | None = None
    stop_at_loss: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRequest:
    """Ask how many samples each epoch of a comparison has, and whether that can be told.

    Attributes:
        validation_fraction: Share of the samples that is held out.
        num_folds: Folds; above 1, the fraction is one over it.
    """

    validation_fraction: float
    num_folds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A workload is ready.

    Attributes:
        workload: What it is.
        environment: Where it will run.
        device: Name of the device.
        budget: Memory that a trial may use.
        memory_is_enforced: Whether trials beyond the budget fail, or are only noticed.
        peak_uncertainty_fraction: How far added memory may lie from a straight line.
        smallest_batch_size: Smallest size that can be trained with at all.
        host_budget: Host memory that a trial may use, where that is not the same budget.
    """

    workload: WorkloadSummary
    environment: Environment
    device: str
    budget: MemoryBudget
    memory_is_enforced: bool
    peak_uncertainty_fraction: float
    smallest_batch_size: int = 1
    host_budget: MemoryBudget | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseReply:
    """The noise scale was measured."""

    noise: NoiseScale


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReply:
    """Samples of an epoch, ``None`` if the data does not tell."""

    num_train_samples: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReply:
    """Some epochs were trained, or training came to an end of another kind.

    Attributes:
        outcome: ``UNFINISHED`` if it can go on; else what ended it.
        epochs: Epochs that were finished, none of them known before.
        iterations: Iterations whose losses are kept, counted from 1 in the first epoch here.
        losses: Their losses.
        learning_rate: Rate that it trained with; ``None`` if the optimizer has several.
        peak_bytes: Highest memory use while training.
        message: What ended it, or empty.
        device_is_lost: Whether the worker can use its device no more and has to be replaced.
    """

    outcome: RunOutcome
    epochs: tuple[EpochResult, ...] = ()
    iterations: tuple[int, ...] = ()
    losses: tuple[float, ...] = ()
    learning_rate: float | None = None
    peak_bytes: int | None = None
    message: str = ""
    device_is_lost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request could not be carried out.

    Attributes:
        error: Name of the class in ``autobatch.errors`` to raise.
        message: What happened.
        hint: One thing to try.
        user_traceback: Through the user's own frames.
    """

    error: str
    message: str
    hint: str = ""
    user_traceback: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReply:
    """A size ran.

    Attributes:
        trial: What was measured.
        lost_device: If the worker can use its device no more and has to be replaced: what to say
            where the search cannot go on.
    """

    trial: Trial
    lost_device: Failure | None = None


Request: TypeAlias = "LoadRequest | TrialRequest | NoiseRequest | SplitRequest | TrainRequest"
Reply: TypeAlias = "Loaded | TrialReply | NoiseReply | SplitReply | TrainReply | Failure"

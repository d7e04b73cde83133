"""What the parent asks of a worker, and what a worker answers. All of it can be pickled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from autobatch.records import Environment, MemoryBudget, Settings, Trial, WorkloadSummary


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
    round_number: int = 0
    evaluate: bool = False
    longest: int | None = None

    @property
    def is_confirmation(self) -> bool:
        """Whether the run is the last one, of the size that was chosen."""
        return self.num_windows > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """Load a target and say what it is."""

    target: str
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """Run one batch size.

    Attributes:
        batch_size: The size.
        budget_bytes: Memory that it may use.
        plan: How long to time steps.
        timeout_s: Give up after this time, ``None`` for never.
    """

    batch_size: int
    budget_bytes: int
    plan: TimingPlan
    timeout_s: float | None = None


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
    """

    workload: WorkloadSummary
    environment: Environment
    device: str
    budget: MemoryBudget
    memory_is_enforced: bool
    peak_uncertainty_fraction: float
    smallest_batch_size: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReply:
    """A size ran."""

    trial: Trial


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


Request: TypeAlias = "LoadRequest | TrialRequest"
Reply: TypeAlias = "Loaded | TrialReply | Failure"


class Prober(Protocol):
    """Whoever can load a workload and run it at a batch size."""

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Build the workload, run one step of it, and read the machine's limits.

        Args:
            timeout_s: Give up after this time.
        """

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size; out of memory is an outcome, any other error is raised.

        Args:
            batch_size: The size to run.
            plan: How long to time steps.
            timeout_s: Give up after this time, with outcome ``TIMED_OUT``.
        """

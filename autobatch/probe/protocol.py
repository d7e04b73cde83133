"""The requests of the parent and the replies of a worker. All of them can be pickled.

A product hands over its own work as a ``Job``: a request that knows how to run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar

from autobatch.probe.pace import ALONE, Pace
from autobatch.records import (
    Environment,
    MemoryBudget,
    Outcome,
    Precision,
    Settings,
    Trial,
    WorkloadSummary,
)
from autobatch.units import format_seconds

if TYPE_CHECKING:
    from autobatch.devices.base import Device
    from autobatch.workload.task import TrainingTask

R_co = TypeVar("R_co", covariant=True)


class Purpose(Enum):
    """What a trial is for."""

    SEARCH = "search"
    RACE = "race"
    FINAL = "final"
    EVALUATION = "evaluation"
    LENGTHS = "lengths"

    @property
    def needs_worst_batch(self) -> bool:
        """Whether the largest samples run too, to measure their memory.

        Not in a race, whose sizes have run before, nor where lengths are bounded.
        """
        return self not in (Purpose.RACE, Purpose.LENGTHS)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingPlan:
    """What to run, and how long to time its steps.

    Attributes:
        purpose: What the trial is for. A final run must also fit the memory that is free by
            then, and a model that is compiled runs compiled. An evaluation trains one step of the
            smallest batch, and then evaluates.
        num_warmup_steps: Steps before timing; never below 2, since optimizer state appears in
            the first and gradients stay from then on.
        min_steps: Fewest timed steps.
        max_time_s: Time after which no further step is started, ``min_steps`` aside.
        precision_fraction: Stop earlier once the standard error of the median is this small.
        patience_s: Time after which ``min_steps`` no longer counts: slow steps say enough.
        num_windows: Parts in which a final run times its steps, each with a peak of its own.
        round_number: 0 for a first run; sizes timed in turn share a number above 0.
        longest: Run batches of samples of at most this length alone, the longest of them.
        num_threads: CPU threads of the trial; the worker's own number if ``None``.
        num_passes: Forward and backward passes of a step; the gradients of all but the first are
            added to those before.
        runs_compiled: Whether a compiled model runs compiled in any trial, not only in a final run.
    """

    purpose: Purpose = Purpose.SEARCH
    num_warmup_steps: int = 2
    min_steps: int = 3
    max_time_s: float = 0.5
    precision_fraction: float = 0.02
    patience_s: float = 20.0
    num_windows: int = 1
    round_number: int = 0
    longest: int | None = None
    num_threads: int | None = None
    num_passes: int = 1
    runs_compiled: bool = False

    @property
    def is_confirmation(self) -> bool:
        """Whether the run is the last one, of the size that was chosen."""
        return self.purpose is Purpose.FINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a piece of work may use.

    Attributes:
        budget_bytes: Memory of the device.
        host_budget_bytes: Host memory, where that is not the same budget.
        timeout_s: Time, ``None`` without a limit.
    """

    budget_bytes: int
    host_budget_bytes: int | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A request could not be carried out.

    Attributes:
        error: Name of the class in ``autobatch.errors`` to raise.
        message: What happened.
        hint: One thing to try.
        user_traceback: Through the user's own frames.
        cause: What the user's code raised, in one line; empty if nothing that its batch size could
            have caused.
    """

    error: str
    message: str
    hint: str = ""
    user_traceback: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """A piece of work ended without a result.

    Attributes:
        outcome: ``KILLED``, ``OVER_BUDGET`` or ``TIMED_OUT``.
        message: What ended it.
        peak_bytes: What its process and the descendants of that held when last looked at.
        lost_device: If the worker can use its device no more and has to be replaced: what to say
            where the search cannot go on.
        exit_code: Exit status of the worker, if that ended as well.
        stderr_tail: The last lines that the worker wrote to standard error, if it ended.
    """

    outcome: Outcome
    message: str
    peak_bytes: int | None = None
    lost_device: Failure | None = None
    exit_code: int | None = None
    stderr_tail: str = ""

    @classmethod
    def timed_out(cls, timeout_s: float | None, peak_bytes: int | None = None) -> Crash:
        """Describe work that took longer than it may.

        Args:
            timeout_s: Seconds that it had, ``None`` if unknown.
            peak_bytes: Highest memory use seen, ``None`` if unknown.
        """
        message = f"no end after {format_seconds(timeout_s or 0.0)}"
        return cls(outcome=Outcome.TIMED_OUT, message=message, peak_bytes=peak_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobContext:
    """What a piece of work can use in the process that runs it; never sent.

    Attributes:
        task: What to train.
        device: Where.
        precision: Arithmetic of a step.
        seed: Seed of every random generator.
        limits: What it may use.
        is_apart: Whether it has a process of its own, whose end undoes all that it changes.
        is_mid_training: Whether the optimizer had made steps before the workload was loaded.
        doing: What is going on, for errors: ``in a trial at batch size 8``.
        num_threads: CPU threads of the work; the worker's own number if ``None``.
        smallest_batch_size: Samples that a training step takes at least; BatchNorm needs two.
        pace: Decides how a trial goes on.
        tell: Receives how far the work is, in words.
    """

    task: TrainingTask
    device: Device
    precision: Precision
    seed: int
    limits: Limits
    is_apart: bool = False
    is_mid_training: bool = False
    doing: str = ""
    num_threads: int | None = None
    smallest_batch_size: int = 2
    pace: Pace = ALONE
    tell: Callable[[str], None] = lambda doing: None


class Job(Protocol[R_co]):
    """Work of a product, sent to where the workload is.

    A job can be made without PyTorch: ``run`` imports what it needs.
    """

    doing: ClassVar[str]
    """What is going on, for errors: ``while it was trained``."""

    def run(self, context: JobContext) -> R_co:
        """Do it, in the worker or a child of it; the result is pickled."""

    def from_crash(self, crash: Crash) -> R_co:
        """Make a result in the parent if the job ended without one; may raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadRequest:
    """Load a target and say what it is.

    Attributes:
        target: The target, as the user named it.
        settings: Settings of the search.
        keeps_weights: Whether to keep a copy of the model's and the optimizer's state, in the
            host's memory, and put it back after every trial.
        is_for_one: Whether the worker does one piece of work and is then replaced, so that it need
            not fork.
    """

    target: str
    settings: Settings
    keeps_weights: bool = False
    is_for_one: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRequest:
    """Run one batch size.

    Attributes:
        batch_size: The size.
        plan: What to run, and how long to time its steps.
        limits: What it may use.
    """

    batch_size: int
    plan: TimingPlan
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest:
    """Run a job.

    Attributes:
        job: The job.
        limits: What it may use.
    """

    job: Job[Any]
    limits: Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A workload is ready.

    Attributes:
        workload: What it is.
        environment: Where it will run.
        device: Name of the device.
        budget: Memory that a trial may use.
        memory_is_enforced: Whether trials beyond the budget fail, or are only noticed.
        peak_uncertainty_fraction: How far memory growth may deviate from a straight line.
        smallest_batch_size: Smallest size that can be trained with at all.
        host_budget: Host memory that a trial may use, where that is not the same budget.
        repeats_batch: Whether every batch is the same, so that it has no gradient noise.
        loss_is_finite: Whether the loss of the step that ran meanwhile was.
        idle_bytes: Memory that the process with the workload holds before a step, on the CPU.
        final_start_s: Seconds that the final run takes before its first step, where it starts from
            nothing.
    """

    workload: WorkloadSummary
    environment: Environment
    device: str
    budget: MemoryBudget
    memory_is_enforced: bool
    peak_uncertainty_fraction: float
    smallest_batch_size: int = 1
    host_budget: MemoryBudget | None = None
    repeats_batch: bool = False
    loss_is_finite: bool = True
    idle_bytes: int | None = None
    final_start_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HasThreads:
    """A workload has started threads, so that its process cannot be forked.

    Attributes:
        names: Of the threads.
    """

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialReply:
    """A size ran.

    Attributes:
        trial: What was measured.
        lost_device: As of a ``Crash``.
    """

    trial: Trial
    lost_device: Failure | None = None

    @classmethod
    def from_crash(cls, batch_size: int, crash: Crash) -> TrialReply:
        """Describe a trial that ended without a result.

        Args:
            batch_size: The size that ran.
            crash: How it ended.
        """
        trial = Trial(
            batch_size=batch_size,
            outcome=crash.outcome,
            peak_bytes=crash.peak_bytes,
            message=crash.message,
        )
        return cls(trial=trial, lost_device=crash.lost_device)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReply:
    """A job is done.

    Attributes:
        result: What it returned.
    """

    result: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a worker does now, in words, told before its reply: ``running a first step``."""

    doing: str


Request: TypeAlias = "LoadRequest | TrialRequest | JobRequest"
Reply: TypeAlias = "Loaded | HasThreads | TrialReply | JobReply | Crash | Failure"

"""The whole result of a search."""

from __future__ import annotations

from dataclasses import dataclass, field

from autobatch.records.curves import MemoryCurve, ThroughputCurve
from autobatch.records.enums import StopReason, WarningCode
from autobatch.records.memory import MemoryBudget
from autobatch.records.recommendation import Recommendation
from autobatch.records.settings import Settings
from autobatch.records.trial import Trial
from autobatch.records.workload import Environment, WorkloadSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingWarning:
    """Something that a user should know: a code, and the figures that its text needs.

    Attributes:
        code: What it is about.
        figures: Numbers by name; ``autobatch.reporting.warnings`` says which code has which.
        details: What it is about in words, such as the reasons of a driver.
    """

    code: WarningCode
    figures: dict[str, float] = field(default_factory=dict)
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """The final run of the recommended size, after everything else.

    Attributes:
        batch_size: The size that ran.
        num_steps: Steps that it ran for, warm-up included.
        window_num_steps: Steps of each part, in order; empty if that was not kept.
        peak_bytes: Highest memory use, held against the budget and against what was still
            available then.
        window_peaks_bytes: Peak of each part of the run, in order; they grow if memory leaks.
    """

    batch_size: int
    num_steps: int
    peak_bytes: int | None
    window_peaks_bytes: tuple[int, ...]
    window_num_steps: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was asked, where, what was measured and what follows.

    Attributes:
        target: What was probed, as the user named it.
        device: Device that the trials ran on, such as ``cpu`` or ``cuda:0``.
        settings: The settings of the search, whole.
        environment: Hardware and versions.
        workload: What was trained.
        budget: Memory there was and could be used.
        host_budget: The machine's memory beside it, for a device that has its own; else ``None``.
        trials: Every trial, by batch size.
        memory_curve: Fitted peak memory; ``None`` with fewer than two sizes that fitted.
        throughput_curve: Fitted step time; ``None`` with fewer than three.
        recommendation: The answer.
        confirmation: Its final run; ``None`` if there was no time for it.
        warnings: What to know about it.
        stop_reason: Why the search went no further.
        search_time_s: Wall-clock time from loading the workload to the answer.
    """

    target: str
    device: str
    settings: Settings
    environment: Environment
    workload: WorkloadSummary
    budget: MemoryBudget
    trials: tuple[Trial, ...]
    memory_curve: MemoryCurve | None
    throughput_curve: ThroughputCurve | None
    recommendation: Recommendation
    confirmation: Confirmation | None
    warnings: tuple[FindingWarning, ...]
    stop_reason: StopReason
    search_time_s: float
    host_budget: MemoryBudget | None = None

    @property
    def batch_size(self) -> int:
        """The recommended batch size."""
        return self.recommendation.batch_size

    @property
    def iterations_per_epoch(self) -> int | None:
        """Optimizer steps per epoch at the recommended size."""
        return self.recommendation.iterations_per_epoch

    @property
    def learning_rate(self) -> float | None:
        """Learning rate scaled to the recommended size; ``None`` without a base rate."""
        return self.recommendation.learning_rate

    @property
    def gradient_accumulation_steps(self) -> int:
        """Passes per optimizer step."""
        return self.recommendation.gradient_accumulation_steps

"""What the checks of a finding look at."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.records import (
    Confirmation,
    Contention,
    FindingWarning,
    MemoryBudget,
    Recommendation,
    Settings,
    TimingDecision,
    Trial,
    WarningCode,
    WorkloadSummary,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A finding with all that it rests on.

    Attributes:
        settings: What was asked.
        workload: What is trained.
        trials: All trials, by batch size.
        answer: The recommendation.
        confirmation: Its final run, ``None`` if there was none.
        budget: Memory that it may use.
        chosen: The trial of its size.
        fitting: The trials that fitted, by batch size.
        dataset_size: Samples in an epoch, ``None`` if unknown.
        decision: The estimates that it was chosen by.
        memory_is_enforced: Whether a trial over the budget would have been stopped.
        num_cores: Cores that the trials could use.
        contention: What was done about processes that kept them busy, ``None`` if nothing.
    """

    settings: Settings
    workload: WorkloadSummary
    trials: tuple[Trial, ...]
    answer: Recommendation
    confirmation: Confirmation | None
    budget: MemoryBudget
    chosen: Trial
    fitting: tuple[Trial, ...]
    dataset_size: int | None
    decision: TimingDecision
    memory_is_enforced: bool
    num_cores: int
    contention: Contention | None


def make_warning(
    code: WarningCode, words: tuple[str, ...] = (), **figures: float
) -> FindingWarning:
    """Make a warning.

    Args:
        code: Which.
        words: What a text says beside its figures.
        figures: By their names.
    """
    return FindingWarning(code=code, figures=figures, details=words)

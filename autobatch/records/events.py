"""What a search tells whoever watches it."""

from __future__ import annotations

from typing import Protocol

from autobatch.records.enums import Phase
from autobatch.records.memory import MemoryBudget
from autobatch.records.trial import Trial
from autobatch.records.workload import WorkloadSummary


class Observer(Protocol):
    """Receives events in the order they happen; must not raise."""

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """The workload is built and the memory budget known."""

    def trial_started(self, batch_size: int, phase: Phase) -> None:
        """A size is about to run."""

    def trial_finished(self, trial: Trial, phase: Phase) -> None:
        """A size ran; in phase ``TIMING`` the trial holds its earlier rounds too."""


class SilentObserver:
    """An observer that says nothing."""

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """Say nothing."""

    def trial_started(self, batch_size: int, phase: Phase) -> None:
        """Say nothing."""

    def trial_finished(self, trial: Trial, phase: Phase) -> None:
        """Say nothing."""

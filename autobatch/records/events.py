"""The events of a search."""

from __future__ import annotations

from typing import Protocol

from autobatch.records.contention import Contention
from autobatch.records.enums import Phase
from autobatch.records.memory import MemoryBudget
from autobatch.records.trial import Trial
from autobatch.records.workload import WorkloadSummary


class Observer(Protocol):
    """Receives events in the order they happen; must not raise."""

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """The workload is built and the memory budget known.

        Args:
            workload: What is trained.
            budget: Memory that trials may use.
            device: Where trials run.
        """

    def trial_started(self, batch_size: int, phase: Phase) -> None:
        """A size is about to run.

        Args:
            batch_size: The size.
            phase: What it runs for.
        """

    def trial_finished(self, trial: Trial, phase: Phase) -> None:
        """A size has run.

        Args:
            trial: Its trial; in phase ``TIMING`` with the earlier rounds too.
            phase: What it ran for.
        """

    def begun_anew(self, contention: Contention) -> None:
        """All sizes will run again, since others keep the cores busy and something helps.

        Args:
            contention: What helps.
        """


class SilentObserver:
    """An observer that says nothing."""

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """Say nothing."""

    def trial_started(self, batch_size: int, phase: Phase) -> None:
        """Say nothing."""

    def trial_finished(self, trial: Trial, phase: Phase) -> None:
        """Say nothing."""

    def begun_anew(self, contention: Contention) -> None:
        """Say nothing."""

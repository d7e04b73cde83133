"""Who is told how a check goes on."""

from __future__ import annotations

from typing import Protocol

from autobatch.check.records import Verdict
from autobatch.records import MemoryBudget, WorkloadSummary


class CheckObserver(Protocol):
    """Receives events in the order they happen; must not raise."""

    def loading(self, name: str) -> None:
        """The target or its reference is about to be loaded.

        Args:
            name: As the user wrote it.
        """

    def doing(self, what: str) -> None:
        """A part of loading has begun.

        Args:
            what: In words; empty at its end.
        """

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """The target is built and the memory budget known.

        Args:
            workload: What is trained.
            budget: Memory that trials may use.
            device: Where trials run.
        """

    def measuring(self, batch_size: int, time_limit_s: float) -> None:
        """Rounds are about to be measured.

        Args:
            batch_size: At this size.
            time_limit_s: For as long at most, a few rounds aside.
        """

    def round_finished(self, number: int, verdicts: tuple[Verdict, ...]) -> None:
        """A round was measured.

        Args:
            number: Number of the round, from 1.
            verdicts: Requirements on time, as far as they can be judged.
        """


class SilentCheckObserver:
    """An observer that says nothing."""

    def loading(self, name: str) -> None:
        """Say nothing."""

    def doing(self, what: str) -> None:
        """Say nothing."""

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """Say nothing."""

    def measuring(self, batch_size: int, time_limit_s: float) -> None:
        """Say nothing."""

    def round_finished(self, number: int, verdicts: tuple[Verdict, ...]) -> None:
        """Say nothing."""

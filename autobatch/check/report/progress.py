"""What goes on during a check, on standard error: a line per look at the rounds."""

from __future__ import annotations

from typing import TextIO

from autobatch import units
from autobatch.check.records import Verdict
from autobatch.check.report.wording import STATUSES, figure_text
from autobatch.records import MemoryBudget, WorkloadSummary
from autobatch.reporting.screen import Lines


class CheckLines:
    """Writes one plain line whenever something may have been decided.

    Args:
        stream: Where to, usually standard error. A stream that fails is written to no more.
    """

    def __init__(self, stream: TextIO) -> None:
        self._lines = Lines(stream)

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """Write what is being measured and the memory that there is for it."""
        self._lines.write(
            f"{workload.model} on {device}, memory budget "
            f"{units.format_bytes(budget.budget_bytes)} ({budget.bound_by})"
        )

    def round_finished(self, number: int, verdicts: tuple[Verdict, ...]) -> None:
        """Write what the requirements on time look like; on a terminal, a count in between."""
        if not verdicts:
            self._lines.write_passing(f"round {number}")
            return
        parts = [
            f"{each.name} {figure_text(each)} {STATUSES[each.status].lower()}" for each in verdicts
        ]
        self._lines.write(f"round {number}: {'; '.join(parts)}")

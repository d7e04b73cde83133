"""What goes on during a check, on standard error: a line per look at the rounds."""

from __future__ import annotations

from autobatch import units
from autobatch.check.records import Verdict
from autobatch.check.report.wording import STATUSES, figure_text
from autobatch.records import MemoryBudget, WorkloadSummary
from autobatch.reporting.activity import Activity
from autobatch.reporting.progress import introduction


class CheckLines:
    """Writes one line whenever something may have been decided, and shows rounds in between.

    Args:
        activity: Where to.
    """

    def __init__(self, activity: Activity) -> None:
        self._activity = activity

    def loading(self, name: str) -> None:
        """Say what is being loaded."""
        self._activity.begin(f"loading {name}")

    def doing(self, what: str) -> None:
        """Show a part of loading."""
        self._activity.detail(what)

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """Write what is being measured and the memory that there is for it."""
        self._activity.write(introduction(workload, budget, device))

    def measuring(self, batch_size: int, time_limit_s: float) -> None:
        """Say what is measured."""
        size = units.format_count(batch_size)
        limit = units.format_seconds(time_limit_s)
        self._activity.begin(f"measuring batch size {size}, for up to {limit}")

    def round_finished(self, number: int, verdicts: tuple[Verdict, ...]) -> None:
        """Write what the requirements on time look like; show a count in between."""
        self._activity.detail(f"round {number}")
        if not verdicts:
            return
        parts = [
            f"{each.name} {figure_text(each)} {STATUSES[each.status].lower()}" for each in verdicts
        ]
        self._activity.write(f"round {number}: {'; '.join(parts)}")

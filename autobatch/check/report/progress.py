"""What goes on during a check, on standard error: a line per look at the rounds."""

from __future__ import annotations

import contextlib
from typing import TextIO

from autobatch import units
from autobatch.check.records import Verdict
from autobatch.check.report.wording import STATUSES, figure_text
from autobatch.records import MemoryBudget, WorkloadSummary
from autobatch.reporting.screen import printable


class CheckLines:
    """Writes one plain line whenever something may have been decided.

    Args:
        stream: Where to, usually standard error. A stream that fails is written to no more.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """Write what is being measured and the memory that there is for it."""
        self._write(
            f"{workload.model} on {device}, memory budget "
            f"{units.format_bytes(budget.budget_bytes)} ({budget.bound_by})\n"
        )

    def round_finished(self, number: int, verdicts: tuple[Verdict, ...]) -> None:
        """Write what the requirements on time look like; on a terminal, a count in between."""
        if not verdicts:
            if self._is_terminal:
                self._write(f"\rround {number} ")
            return
        parts = [
            f"{each.name} {figure_text(each)} {STATUSES[each.status].lower()}" for each in verdicts
        ]
        start = "\r" if self._is_terminal else ""
        self._write(f"{start}round {number}: {'; '.join(parts)}\n")

    def _write(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        start, end = ("\r" if text[0] == "\r" else ""), ("\n" if text[-1] == "\n" else "")
        # A check must not end because nobody listens any more.
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(start + printable(text.strip("\r\n"), encoding) + end)
            self._stream.flush()

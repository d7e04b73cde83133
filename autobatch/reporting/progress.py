"""What goes on during a search, on standard error: a live table, or a line per trial."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import TextIO

from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from autobatch import units
from autobatch.records import MemoryBudget, Outcome, Phase, Trial, WorkloadSummary
from autobatch.reporting.screen import Lines, printable
from autobatch.reporting.tables import outcome_text, throughput_figure
from autobatch.reporting.wording import OUTCOMES

# The display is drawn beside the measurement, on cores that it may need.
_REFRESHES_PER_S = 2
_BAR_WIDTH = 24
_LINES_BESIDE_TRIALS = 4
_DOING = {
    Phase.SEARCH: "running",
    Phase.TIMING: "timing again",
    Phase.NOISE: "measuring the gradient noise",
    Phase.CONFIRMATION: "final run",
    Phase.EVALUATION: "evaluating",
    Phase.LENGTHS: "by length",
}
_DONE = {
    Phase.TIMING: "timed again",
    Phase.CONFIRMATION: "confirmed",
    Phase.EVALUATION: "evaluated",
    Phase.LENGTHS: "fits, by length",
}
_JUSTIFY: tuple[JustifyMethod, ...] = ("right", "left", "right", "right", "left")


class LineProgress:
    """Writes one plain line per trial.

    Args:
        stream: Where to, usually standard error. A stream that fails is written to no more.
    """

    def __init__(self, stream: TextIO) -> None:
        self._lines = Lines(stream)

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """Write what is being measured and the memory that there is for it."""
        self._lines.write(_introduction(workload, budget, device))

    def trial_started(self, batch_size: int, phase: Phase) -> None:
        """Write nothing: the line comes with the result."""

    def trial_finished(self, trial: Trial, phase: Phase) -> None:
        """Write what came of a trial."""
        again = phase is Phase.TIMING and trial.fits
        facts = [_DONE[phase] if trial.fits and phase in _DONE else OUTCOMES[trial.outcome]]
        if trial.peak_bytes is not None and not again:
            facts.append(units.format_bytes(trial.peak_bytes))
        if trial.step_time_s is not None:
            facts.append(units.format_seconds(trial.step_time_s))
        if trial.samples_per_s is not None:
            facts.append(units.format_rate(trial.samples_per_s))
        if trial.outcome is Outcome.FAILED:
            facts.append(trial.message)
        self._lines.write(f"batch {units.format_count(trial.batch_size)}: {', '.join(facts)}")


class LiveProgress:
    """Shows the trials so far and the size that is running; gone once the search has ended.

    Use it as a context manager.

    Args:
        console: A console on standard error, on a terminal.
        clock: Seconds from any origin.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._introduction = Text()
        self._spinner = Spinner("line")
        self._doing = "loading the workload: imports, the model and its data"
        self._began_s = self._since_s = clock()
        self._clock = clock
        self._trials: dict[int, Trial] = {}
        self._live = Live(
            get_renderable=self._picture,
            console=console,
            refresh_per_second=_REFRESHES_PER_S,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> LiveProgress:
        self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """Show what is being measured and the memory that there is for it."""
        line = printable(_introduction(workload, budget, device), self._console.encoding)
        self._introduction = Text(line, no_wrap=True, overflow="ellipsis")
        self._refresh()

    def trial_started(self, batch_size: int, phase: Phase) -> None:
        """Show which size is running."""
        self._do(f"batch {units.format_count(batch_size)}: {_DOING[phase]}")

    def trial_finished(self, trial: Trial, phase: Phase) -> None:
        """Show what came of a trial."""
        # A new dict, since the thread that draws may be in the middle of the old one.
        if phase not in (Phase.EVALUATION, Phase.LENGTHS):
            self._trials = {**self._trials, trial.batch_size: trial}
        self._do("choosing what to run next")

    def _do(self, what: str) -> None:
        self._doing, self._since_s = what, self._clock()
        self._refresh()

    def _refresh(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._live.refresh()

    def _picture(self) -> Group:
        trials = sorted(self._trials.values(), key=lambda trial: trial.batch_size)
        best = max((trial.samples_per_s or 0.0 for trial in trials), default=0.0)
        table = Table.grid(padding=(0, 2))
        for justify in _JUSTIFY:
            table.add_column(justify=justify, no_wrap=True)
        for trial in trials[-max(1, self._console.height - _LINES_BESIDE_TRIALS) :]:
            peak = "-" if trial.peak_bytes is None else units.format_bytes(trial.peak_bytes)
            rate = throughput_figure(trial.samples_per_s)
            table.add_row(
                units.format_count(trial.batch_size),
                outcome_text(trial.outcome),
                peak,
                f"{rate} samples/s" if trial.samples_per_s else rate,
                _bar(trial.samples_per_s, best),
            )
        now_s = self._clock()
        here, whole = (_whole_seconds(now_s - since) for since in (self._since_s, self._began_s))
        self._spinner.update(text=f"{self._doing} ({here}; {whole} in all)")
        return Group(self._introduction, table, self._spinner)


def _whole_seconds(elapsed_s: float) -> str:
    return units.format_seconds(max(1, round(elapsed_s)))


def _bar(samples_per_s: float | None, best: float) -> ProgressBar | str:
    if not samples_per_s or not best:
        return ""
    # Never complete: a full bar of rich's has another colour.
    return ProgressBar(total=best * 1.0001, completed=samples_per_s, width=_BAR_WIDTH)


def _introduction(workload: WorkloadSummary, budget: MemoryBudget, device: str) -> str:
    return (
        f"{workload.model} on {device}, memory budget {units.format_bytes(budget.budget_bytes)} "
        f"({budget.bound_by})"
    )

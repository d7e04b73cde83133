"""What goes on during a search: a table that grows on a terminal, elsewhere a line per trial."""

from __future__ import annotations

from rich.console import JustifyMethod, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from autobatch import units
from autobatch.records import (
    BATCHES,
    Along,
    Contention,
    MemoryBudget,
    Outcome,
    Phase,
    Trial,
    WorkloadSummary,
)
from autobatch.reporting.activity import Activity, LiveActivity
from autobatch.reporting.screen import printable
from autobatch.reporting.tables import describe_outcome, outcome_text, throughput_figure
from autobatch.reporting.wording import describe_contention

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
_COMPILING = "compiling, then the final run"
_DONE = {
    Phase.TIMING: "timed again",
    Phase.CONFIRMATION: "confirmed",
    Phase.EVALUATION: "evaluated",
    Phase.LENGTHS: "fits, by length",
}
_JUSTIFY: tuple[JustifyMethod, ...] = ("right", "left", "right", "right", "left")


class LineProgress:
    """Writes one line per trial, and one before what takes long without a result.

    Args:
        activity: Where to.

    Attributes:
        along: What the sizes are.
    """

    def __init__(self, activity: Activity) -> None:
        self.along: Along = BATCHES
        self._activity = activity
        self._is_compiled = False

    def loading(self, target: str) -> None:
        """Write what is being loaded."""
        self._activity.begin(f"loading {target}")

    def doing(self, what: str) -> None:
        """Show a part of loading."""
        self._activity.detail(what)

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """Write what is being measured and the memory that there is for it."""
        self._is_compiled = workload.is_compiled
        self._activity.write(introduction(workload, budget, device))

    def trial_started(self, batch_size: int, phase: Phase) -> None:
        """Write nothing, unless it compiles: the line comes with the result."""
        if self._is_compiled and phase is Phase.CONFIRMATION:
            self._activity.begin(f"{self._name(batch_size)}: {_COMPILING}")

    def trial_finished(self, trial: Trial, phase: Phase) -> None:
        """Write what came of a trial."""
        again = phase is Phase.TIMING and trial.fits
        facts = [_DONE[phase] if trial.fits and phase in _DONE else describe_outcome(trial)]
        if trial.peak_bytes is not None and not again:
            facts.append(units.format_bytes(trial.peak_bytes))
        if trial.step_time_s is not None:
            facts.append(units.format_seconds(trial.step_time_s))
        if trial.samples_per_s is not None:
            rate = self.along.rate(trial.batch_size, trial.samples_per_s)
            facts.append(units.format_rate(rate, self.along.unit))
        if trial.outcome is Outcome.FAILED:
            facts.append(trial.message)
        self._activity.write(f"{self._name(trial.batch_size)}: {', '.join(facts)}")

    def _name(self, size: int) -> str:
        return f"{self.along.column} {units.format_count(size)}"

    def begun_anew(self, contention: Contention) -> None:
        """Write why the same sizes run again."""
        self._activity.write(f"again from the start: {describe_contention(contention)}")


class LiveProgress(LineProgress):
    """Shows the trials so far above what is running.

    Args:
        activity: The line that says what is running.
    """

    def __init__(self, activity: LiveActivity) -> None:
        super().__init__(activity)
        self._live = activity
        self._introduction = Text()
        self._trials: dict[int, Trial] = {}
        activity.show_above = self._above

    def loaded(self, workload: WorkloadSummary, budget: MemoryBudget, device: str) -> None:
        """Show what is being measured and the memory that there is for it."""
        self._is_compiled = workload.is_compiled
        line = printable(introduction(workload, budget, device), self._live.console.encoding)
        self._introduction = Text(line, no_wrap=True, overflow="ellipsis")
        self._live.refresh()

    def trial_started(self, batch_size: int, phase: Phase) -> None:
        """Show which size is running."""
        compiles = self._is_compiled and phase is Phase.CONFIRMATION
        doing = _COMPILING if compiles else _DOING[phase]
        self._activity.begin(f"{self._name(batch_size)}: {doing}")

    def trial_finished(self, trial: Trial, phase: Phase) -> None:
        """Show what came of a trial."""
        # A new dict, since the thread that draws may be in the middle of the old one.
        if phase not in (Phase.EVALUATION, Phase.LENGTHS):
            self._trials = {**self._trials, trial.batch_size: trial}
        self._activity.begin("choosing what to run next")

    def begun_anew(self, contention: Contention) -> None:
        """Show why the sizes run again, in the place of how they ran before."""
        self._trials = {}
        self._introduction = Text("\n", no_wrap=True, overflow="ellipsis").join(
            (self._introduction, Text(describe_contention(contention)))
        )

    def _above(self) -> tuple[RenderableType, RenderableType]:
        trials = sorted(self._trials.values(), key=lambda trial: trial.batch_size)
        rates = {
            trial.batch_size: self.along.rate(trial.batch_size, trial.samples_per_s)
            for trial in trials
            if trial.samples_per_s
        }
        best = max(rates.values(), default=0.0)
        table = Table.grid(padding=(0, 2))
        for justify in _JUSTIFY:
            table.add_column(justify=justify, no_wrap=True)
        for trial in trials[-max(1, self._live.console.height - _LINES_BESIDE_TRIALS) :]:
            peak = "-" if trial.peak_bytes is None else units.format_bytes(trial.peak_bytes)
            rate = rates.get(trial.batch_size)
            table.add_row(
                units.format_count(trial.batch_size),
                outcome_text(trial.outcome),
                peak,
                units.format_rate(rate, self.along.unit) if rate else throughput_figure(None),
                _bar(rate, best),
            )
        return self._introduction, table


def _bar(samples_per_s: float | None, best: float) -> ProgressBar | str:
    if not samples_per_s or not best:
        return ""
    # Never complete: a full bar of rich's has another colour.
    return ProgressBar(total=best * 1.0001, completed=samples_per_s, width=_BAR_WIDTH)


def introduction(workload: WorkloadSummary, budget: MemoryBudget, device: str) -> str:
    """What is measured, where, and the memory that there is for it.

    Args:
        workload: What is trained.
        budget: Memory that trials may use.
        device: Where trials run.
    """
    reloads = ""
    if workload.own_threads:
        reloads = f"; it starts threads ({workload.own_threads[0]}), so each trial loads it anew"
    return (
        f"{workload.model} on {device}, memory budget {units.format_bytes(budget.budget_bytes)} "
        f"({budget.bound_by}){reloads}"
    )

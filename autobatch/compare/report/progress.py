"""What goes on during a comparison, on standard error: bars with the time left, or lines."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from autobatch import units
from autobatch.compare.records import RunOutcome, TrainingRun
from autobatch.compare.report.text import outcome_words
from autobatch.records import WorkloadSummary
from autobatch.reporting.screen import printable, write_line


class CompareLines:
    """Writes one plain line per run that came to its end.

    Args:
        stream: Where to, usually standard error. A stream that fails is written to no more.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def comparing(self, workload: WorkloadSummary, device: str, num_runs: int) -> None:
        """Write what is trained."""
        write_line(self._stream, f"{workload.model} on {device}, {num_runs} runs")

    def run_advanced(self, run: TrainingRun, num_epochs: int) -> None:
        """Write what came of a run that is over."""
        if not run.is_over:
            return
        facts = [_outcome(run, num_epochs), f"{len(run.epochs)} of {num_epochs} epochs"]
        facts.append(units.format_seconds(run.time_s))
        if run.epochs:
            facts.append(f"loss {run.epochs[-1].loss:.4g}")
        write_line(self._stream, f"{_name(run)}: {', '.join(facts)}")


class CompareBars:
    """A bar for each run, with the time left of those under way. A context manager.

    Args:
        console: A console on standard error, on a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._bars: dict[int, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("epochs"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
            console=console,
            refresh_per_second=2,
            transient=True,
            redirect_stdout=False,
            speed_estimate_period=600,
        )

    def __enter__(self) -> CompareBars:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def comparing(self, workload: WorkloadSummary, device: str, num_runs: int) -> None:
        """Show what is trained."""
        line = f"{workload.model} on {device}, {num_runs} runs"
        self._progress.console.print(printable(line, self._progress.console.encoding))

    def run_advanced(self, run: TrainingRun, num_epochs: int) -> None:
        """Move the bar of a run."""
        key = run.batch_size
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(_name(run), total=num_epochs, note="")
        note = f"loss {run.epochs[-1].loss:.4g}" if run.epochs else ""
        if run.is_over:
            note = f"{note} {_outcome(run, num_epochs)}".strip()
        self._progress.update(self._bars[key], completed=len(run.epochs), note=note)
        if run.is_over:
            self._progress.stop_task(self._bars[key])


def _name(run: TrainingRun) -> str:
    kind = " (full)" if run.is_full_batch else ""
    return f"batch {units.format_count(run.batch_size)}{kind}"


def _outcome(run: TrainingRun, num_epochs: int) -> str:
    has_stopped = run.outcome is RunOutcome.FINISHED and len(run.epochs) < num_epochs
    return "reached the target" if has_stopped else outcome_words(run.outcome)

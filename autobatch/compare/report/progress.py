"""What goes on during a comparison, on standard error: a line per run."""

from __future__ import annotations

from typing import TextIO

from autobatch import units
from autobatch.compare.records import RunOutcome, TrainingRun
from autobatch.compare.report.text import outcome_words
from autobatch.records import WorkloadSummary
from autobatch.reporting.screen import Lines


class CompareLines:
    """Writes one plain line per run that came to its end; on a terminal, its epochs in between.

    Args:
        stream: Where to, usually standard error. A stream that fails is written to no more.
    """

    def __init__(self, stream: TextIO) -> None:
        self._lines = Lines(stream)

    def comparing(self, workload: WorkloadSummary, device: str, num_runs: int) -> None:
        """Write what is trained."""
        self._lines.write(f"{workload.model} on {device}, {num_runs} runs")

    def run_advanced(self, run: TrainingRun, num_epochs: int) -> None:
        """Write how far a run has come."""
        facts = [f"{len(run.epochs)} of {num_epochs} epochs", units.format_seconds(run.time_s)]
        if run.epochs:
            facts.append(f"loss {run.epochs[-1].loss:.4g}")
        kind = " (full)" if run.is_full_batch else ""
        name = f"batch {units.format_count(run.batch_size)}{kind}"
        if run.is_over:
            self._lines.write(f"{name}: {', '.join([_outcome(run, num_epochs), *facts])}")
        else:
            self._lines.write_passing(f"{name}: {', '.join(facts)}")


def _outcome(run: TrainingRun, num_epochs: int) -> str:
    has_stopped = run.outcome is RunOutcome.FINISHED and len(run.epochs) < num_epochs
    return "reached the target" if has_stopped else outcome_words(run.outcome)

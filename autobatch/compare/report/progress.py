"""What goes on during a comparison, on standard error: a line per run, and its epochs."""

from __future__ import annotations

from autobatch import units
from autobatch.compare.records import RunOutcome, TrainingRun
from autobatch.compare.report.text import outcome_words
from autobatch.records import WorkloadSummary
from autobatch.reporting.activity import Activity


class CompareLines:
    """Writes one line per run that came to its end, and shows its epochs in between.

    Args:
        activity: Where to.
    """

    def __init__(self, activity: Activity) -> None:
        self._activity = activity

    def loading(self, target: str) -> None:
        """Say what is being loaded."""
        self._activity.begin(f"loading {target}")

    def doing(self, what: str) -> None:
        """Show a part of loading."""
        self._activity.detail(what)

    def comparing(self, workload: WorkloadSummary, device: str, num_runs: int) -> None:
        """Write what is trained."""
        runs = "1 run" if num_runs == 1 else f"{num_runs} runs"
        self._activity.write(f"{workload.model} on {device}, {runs}")

    def run_started(self, run: TrainingRun, num_epochs: int) -> None:
        """Say which size is trained."""
        epochs = "1 epoch" if num_epochs == 1 else f"{units.format_count(num_epochs)} epochs"
        self._activity.begin(f"{_name(run)}: training {epochs}")

    def run_advanced(self, run: TrainingRun, num_epochs: int) -> None:
        """Show how far a run has come, or write how it ended."""
        loss = [f"loss {run.epochs[-1].loss:.4g}"] if run.epochs else []
        if not run.is_over:
            self._activity.detail(", ".join([f"{len(run.epochs)} done", *loss]))
            return
        epochs = f"{len(run.epochs)} of {num_epochs} epochs"
        facts = (_outcome(run, num_epochs), epochs, units.format_seconds(run.time_s), *loss)
        self._activity.write(f"{_name(run)}: {', '.join(facts)}")


def _name(run: TrainingRun) -> str:
    kind = " (full)" if run.is_full_batch else ""
    return f"batch {units.format_count(run.batch_size)}{kind}"


def _outcome(run: TrainingRun, num_epochs: int) -> str:
    has_stopped = run.outcome is RunOutcome.FINISHED and len(run.epochs) < num_epochs
    return "reached the target" if has_stopped else outcome_words(run.outcome)

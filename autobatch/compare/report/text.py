"""A comparison as text: two tables, each of 80 columns, and the choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autobatch import units
from autobatch.compare.records import Comparison, RunOutcome, SizeSummary, TrainingRun
from autobatch.records import Regime
from autobatch.reporting.screen import show
from autobatch.reporting.tables import CHOICE_MARK, Row, labelled, marked_table

_KINDS = {
    Regime.STOCHASTIC: "stochastic",
    Regime.MINI_BATCH: "mini-batch",
    Regime.FULL_BATCH: "full batch",
}
_NOTHING = "-"
_LEGEND = "noise: spread between neighbouring iterations; time: of training alone"


def render_comparison(comparison: Comparison, console: Console) -> None:
    """Print a comparison, for a person to read.

    Args:
        comparison: What to print.
        console: Where to; its width, colours and encoding are respected.
    """
    show(console, _headline(comparison), "", labelled(_header_rows(comparison)))
    by_size = [
        (summary, [run for run in comparison.runs if run.batch_size == summary.batch_size])
        for summary in comparison.summaries
    ]
    show(console, "", Text("Training", style="bold"), _training_table(comparison, by_size))
    show(console, "", Text("Loss", style="bold"), _loss_table(comparison, by_size))
    show(console, Text(_LEGEND, style="dim"))
    if comparison.asked.target_loss is not None:
        title = f"Until a loss of {comparison.asked.target_loss:g}"
        show(console, "", Text(title, style="bold"), _target_table(comparison))
    show(console, "", Text("Choice", style="bold"), labelled(_choice_rows(comparison)))
    for run in comparison.runs:
        if run.message:
            show(console, "", *_note(run, comparison.asked.num_folds))


def outcome_words(outcome: RunOutcome) -> str:
    """What became of a run, in words."""
    return outcome.value.replace("_", " ")


def name_fold(run: TrainingRun, num_folds: int) -> str:
    """Name the fold that a run holds out.

    Args:
        run: The run.
        num_folds: Folds of the comparison.

    Returns:
        The name; empty if there is only one split.
    """
    return f", fold {run.fold + 1} of {num_folds}" if num_folds > 1 else ""


def _headline(comparison: Comparison) -> Text:
    return Text.assemble(
        (comparison.target, "bold"), " on ", (comparison.device, "bold"),
        f" ({comparison.environment.device_name}; PyTorch {comparison.environment.torch_version})",
    )  # fmt: skip


def _header_rows(comparison: Comparison) -> Iterator[Row]:
    workload, asked = comparison.workload, comparison.asked
    yield (
        "model",
        Text(f"{workload.model}, {units.format_count(workload.num_parameters)} parameters"),
    )
    trained = comparison.num_train_samples
    count = "unknown" if trained is None else units.format_count(trained)
    held_out = "none held out"
    if asked.num_folds > 1:
        held_out = f"one of {asked.num_folds} folds held out"
    elif workload.dataset_size and trained and trained < workload.dataset_size:
        held_out = f"{units.format_count(workload.dataset_size - trained)} held out"
    yield "samples", Text(f"{count} to train on, {held_out}")
    optimizer = f", {workload.optimizer}" if workload.optimizer else ""
    precision = comparison.settings.precision.value
    yield "training", Text(f"{workload.loss}{optimizer}, {precision}, {asked.num_epochs} epochs")


def _training_table(
    comparison: Comparison, by_size: Sequence[tuple[SizeSummary, Sequence[TrainingRun]]]
) -> Table:
    table = marked_table("batch", "kind", "updates", "lr", "epoch time", "peak", "outcome")
    for summary, runs in by_size:
        first = runs[0]
        peaks = [run.peak_bytes for run in runs if run.peak_bytes]
        times = [run.epoch_time_s for run in runs if run.epoch_time_s is not None]
        rate = first.learning_rate
        style = "green" if summary.outcome is RunOutcome.FINISHED else "red"
        table.add_row(
            _mark(comparison, summary),
            units.format_count(summary.batch_size),
            _KINDS[first.regime],
            units.format_count(first.epochs[0].num_iterations) if first.epochs else _NOTHING,
            _NOTHING if rate is None else units.format_learning_rate(rate),
            units.format_seconds(sum(times) / len(times)) if times else _NOTHING,
            units.format_bytes(max(peaks)) if peaks else _NOTHING,
            Text(outcome_words(summary.outcome), style=style),
        )
    return table


def _loss_table(
    comparison: Comparison, by_size: Sequence[tuple[SizeSummary, Sequence[TrainingRun]]]
) -> Table:
    table = marked_table("batch", "epochs", "train", "held out", "noise", "time")
    for summary, runs in by_size:
        trained = [run.epochs[-1].train_loss for run in runs if run.epochs]
        noises = [run.loss_noise for run in runs if run.loss_noise is not None]
        table.add_row(
            _mark(comparison, summary),
            units.format_count(summary.batch_size),
            units.format_count(min(len(run.epochs) for run in runs)),
            _mean(trained),
            _held_out(summary, runs),
            _mean(noises),
            units.format_seconds(summary.time_s),
        )
    return table


def _target_table(comparison: Comparison) -> Table:
    table = marked_table("batch", "epochs", "iterations", "time")
    for summary in comparison.summaries:
        size = units.format_count(summary.batch_size)
        table.add_row(_mark(comparison, summary), size, *_to_target(summary))
    return table


def _to_target(summary: SizeSummary) -> list[str]:
    epochs, iterations = summary.epochs_to_target, summary.iterations_to_target
    seconds = summary.seconds_to_target
    if epochs is None or iterations is None or seconds is None:
        return ["not reached", _NOTHING, _NOTHING]
    return [f"{epochs:.3g}", units.format_count(iterations), units.format_seconds(seconds)]


def _held_out(summary: SizeSummary, runs: Sequence[TrainingRun]) -> str:
    values = [run.epochs[-1].validation_loss for run in runs if run.epochs]
    known = [value for value in values if value is not None]
    if not known:
        return _NOTHING
    error = summary.standard_error
    return _mean(known) if error is None else f"{_mean(known)} +- {error:.2g}"


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.4g}" if values else _NOTHING


def _mark(comparison: Comparison, summary: SizeSummary) -> str:
    return CHOICE_MARK if summary.batch_size == comparison.batch_size else ""


def _choice_rows(comparison: Comparison) -> Iterator[Row]:
    size = comparison.batch_size
    chosen = "none" if size is None else units.format_count(size)
    yield "batch size", Text(chosen, style="bold green" if size else "bold red")
    yield "", Text(comparison.reason)
    if not comparison.is_complete:
        yield "", Text("some runs are unfinished: go on with --resume FILE", style="yellow")


def _note(run: TrainingRun, num_folds: int) -> Iterator[RenderableType]:
    outcome = outcome_words(run.outcome)
    name = f"Batch size {units.format_count(run.batch_size)}{name_fold(run, num_folds)}:"
    yield Text.assemble((name, "bold yellow"), f" {outcome}")
    yield Padding(Text(run.message, overflow="fold"), (0, 0, 0, 2))

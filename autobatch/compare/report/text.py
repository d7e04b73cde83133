"""A comparison as text: two tables, each of 80 columns, and the choice."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autobatch import units
from autobatch.compare.records import Comparison, RunOutcome, TrainingRun, epochs_to_loss
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
    show(console, "", Text("Training", style="bold"), _training_table(comparison))
    show(console, "", Text("Loss", style="bold"), _loss_table(comparison))
    show(console, Text(_LEGEND, style="dim"))
    if comparison.asked.target_loss is not None:
        title = f"Until a loss of {comparison.asked.target_loss:g}"
        show(console, "", Text(title, style="bold"), _target_table(comparison))
    show(console, "", Text("Choice", style="bold"), labelled(_choice_rows(comparison)))
    for run in comparison.runs:
        if run.message:
            show(console, "", *_note(run))


def outcome_words(outcome: RunOutcome) -> str:
    """What became of a run, in words."""
    return outcome.value.replace("_", " ")


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
    if workload.dataset_size and trained and trained < workload.dataset_size:
        held_out = f"{units.format_count(workload.dataset_size - trained)} held out"
    yield "samples", Text(f"{count} to train on, {held_out}")
    optimizer = f", {workload.optimizer}" if workload.optimizer else ""
    precision = comparison.settings.precision.value
    yield "training", Text(f"{workload.loss}{optimizer}, {precision}, {asked.num_epochs} epochs")


def _training_table(comparison: Comparison) -> Table:
    table = marked_table("batch", "kind", "updates", "lr", "epoch time", "peak", "outcome")
    for run in comparison.runs:
        rate, time_s = run.learning_rate, run.epoch_time_s
        style = "green" if run.outcome is RunOutcome.FINISHED else "red"
        table.add_row(
            *_size(comparison, run),
            _KINDS[run.regime],
            units.format_count(run.epochs[0].num_iterations) if run.epochs else _NOTHING,
            _NOTHING if rate is None else units.format_learning_rate(rate),
            _NOTHING if time_s is None else units.format_seconds(time_s),
            units.format_bytes(run.peak_bytes) if run.peak_bytes else _NOTHING,
            Text(outcome_words(run.outcome), style=style),
        )
    return table


def _loss_table(comparison: Comparison) -> Table:
    table = marked_table("batch", "epochs", "train", "held out", "noise", "time")
    for run in comparison.runs:
        last = run.epochs[-1] if run.epochs else None
        table.add_row(
            *_size(comparison, run),
            units.format_count(len(run.epochs)),
            _loss(last.train_loss if last else None),
            _loss(last.validation_loss if last else None),
            _loss(run.loss_noise),
            units.format_seconds(run.time_s),
        )
    return table


def _target_table(comparison: Comparison) -> Table:
    table = marked_table("batch", "epochs", "iterations", "time")
    for run in comparison.runs:
        epochs = epochs_to_loss(run.epochs, comparison.asked.target_loss)
        cells = ["not reached", _NOTHING, _NOTHING]
        if epochs is not None:
            num_iterations = sum(each.num_iterations for each in epochs)
            time = units.format_seconds(sum(each.time_s for each in epochs))
            cells = [units.format_count(len(epochs)), units.format_count(num_iterations), time]
        table.add_row(*_size(comparison, run), *cells)
    return table


def _loss(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4g}"


def _size(comparison: Comparison, run: TrainingRun) -> tuple[str, str]:
    mark = CHOICE_MARK if run.batch_size == comparison.batch_size else ""
    return mark, units.format_count(run.batch_size)


def _choice_rows(comparison: Comparison) -> Iterator[Row]:
    size = comparison.batch_size
    chosen = "none" if size is None else units.format_count(size)
    yield "batch size", Text(chosen, style="bold green" if size else "bold red")
    yield "", Text(comparison.reason)
    seed = comparison.settings.seed
    if sum(run.outcome is RunOutcome.FINISHED for run in comparison.runs) > 1:
        yield (
            "one seed",
            Text(
                f"each size was trained once, with seed {seed}: others may order them otherwise; "
                f"repeat with --seed {seed + 1}"
            ),
        )
    if not comparison.is_complete:
        yield "", Text("some runs are unfinished: go on with --resume FILE", style="yellow")


def _note(run: TrainingRun) -> Iterator[RenderableType]:
    outcome = outcome_words(run.outcome)
    name = f"Batch size {units.format_count(run.batch_size)}:"
    yield Text.assemble((name, "bold yellow"), f" {outcome}")
    yield Padding(Text(run.message, overflow="fold"), (0, 0, 0, 2))

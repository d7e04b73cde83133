"""A comparison as text: the choice, and tables that fit the width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autobatch import units
from autobatch.compare.records import (
    Comparison,
    EpochResult,
    RunOutcome,
    TrainingRun,
    epochs_to_loss,
)
from autobatch.records import Regime
from autobatch.reporting.screen import show
from autobatch.reporting.tables import Column, Row, fitting_table, labelled

_KINDS = {
    Regime.STOCHASTIC: "stochastic",
    Regime.MINI_BATCH: "mini-batch",
    Regime.FULL_BATCH: "full batch",
}
_Number = TypeVar("_Number", int, float)
_NOTHING = "-"
_LEGEND = "noise: spread between neighbouring iterations; time: of training alone"


def render_comparison(comparison: Comparison, console: Console) -> None:
    """Print a comparison, for a person to read.

    Args:
        comparison: What to print.
        console: Where to; its width, colours and encoding are respected.
    """
    show(console, *_verdict(comparison), "", _headline(comparison))
    show(console, labelled(_header_rows(comparison)))
    show(console, "", Text("Training", style="bold"), _training_table(comparison, console.width))
    show(console, "", Text("Loss", style="bold"), _loss_table(comparison, console.width))
    show(console, Text(_LEGEND, style="dim"))
    if comparison.asked.target_loss is not None:
        title = f"Until a loss of {comparison.asked.target_loss:g}"
        show(console, "", Text(title, style="bold"), _target_table(comparison, console.width))
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


def _training_table(comparison: Comparison, width: int) -> Table:
    runs = comparison.runs
    rates, times = [run.learning_rate for run in runs], [run.epoch_time_s for run in runs]
    is_finished = [run.outcome is RunOutcome.FINISHED for run in runs]
    columns = [
        Column("kind", tuple(_KINDS[run.regime] for run in runs), is_words=True),
        Column("updates/epoch", tuple(map(_updates, runs))),
        Column("lr", tuple(_or_nothing(rate, units.format_learning_rate) for rate in rates)),
        Column("epoch time", tuple(_or_nothing(time, units.format_seconds) for time in times)),
        Column("peak", tuple(_or_nothing(run.peak_bytes, units.format_bytes) for run in runs)),
        Column(
            "outcome",
            tuple(outcome_words(run.outcome) for run in runs),
            is_words=True,
            styles=tuple("green" if each else "red" for each in is_finished),
        ),
    ]
    dropped = ("kind", "updates/epoch", "peak", "epoch time", "outcome")
    return _table(comparison, columns, width, dropped)


def _loss_table(comparison: Comparison, width: int) -> Table:
    runs = comparison.runs
    last = [run.epochs[-1] if run.epochs else None for run in runs]
    times = [run.time_s if run.epochs else None for run in runs]
    columns = [
        Column("epochs", tuple(units.format_count(len(run.epochs)) for run in runs)),
        Column("train", tuple(_loss(each.train_loss if each else None) for each in last)),
        Column("held out", tuple(_loss(each.validation_loss if each else None) for each in last)),
        Column("noise", tuple(_loss(run.loss_noise) for run in runs)),
        Column("time", tuple(_or_nothing(time, units.format_seconds) for time in times)),
    ]
    return _table(comparison, columns, width, ("noise", "epochs", "train"))


def _target_table(comparison: Comparison, width: int) -> Table:
    target = comparison.asked.target_loss
    rows = [_target_cells(epochs_to_loss(run.epochs, target)) for run in comparison.runs]
    headers = ("epochs", "iterations", "time")
    columns = [
        Column(header, tuple(row[index] for row in rows)) for index, header in enumerate(headers)
    ]
    return _table(comparison, columns, width, ("iterations",))


def _target_cells(epochs: Sequence[EpochResult] | None) -> tuple[str, str, str]:
    if epochs is None:
        return "not reached", _NOTHING, _NOTHING
    num_iterations = sum(each.num_iterations for each in epochs)
    time = units.format_seconds(sum(each.time_s for each in epochs))
    return units.format_count(len(epochs)), units.format_count(num_iterations), time


def _table(
    comparison: Comparison, columns: Sequence[Column], width: int, dropped: Sequence[str]
) -> Table:
    """A row for each run, the chosen one marked."""
    sizes = [run.batch_size for run in comparison.runs]
    first = Column("batch", tuple(map(units.format_count, sizes)))
    marked = [index for index, size in enumerate(sizes) if size == comparison.batch_size]
    return fitting_table([first, *columns], width=width, dropped=dropped, marked=marked)


def _updates(run: TrainingRun) -> str:
    return units.format_count(run.epochs[0].num_iterations) if run.epochs else _NOTHING


def _or_nothing(value: _Number | None, write: Callable[[_Number], str]) -> str:
    return _NOTHING if value is None else write(value)


def _loss(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4g}"


def _verdict(comparison: Comparison) -> Iterator[Text]:
    size = comparison.batch_size
    chosen = "none" if size is None else units.format_count(size)
    style = "bold green" if size else "bold red"
    yield Text.assemble(("Batch size ", "bold"), (chosen, style), f": {comparison.reason}")
    seed = comparison.settings.seed
    if sum(run.outcome is RunOutcome.FINISHED for run in comparison.runs) > 1:
        trained = f" each size was trained once, with seed {seed}: others may order them otherwise"
        yield Text.assemble(("One seed:", "bold"), trained)
        yield Text.assemble(("Next:", "bold"), f" repeat with --seed {seed + 1}")
    if not comparison.is_complete:
        unfinished = " --resume FILE goes on with what -o FILE saved"
        yield Text.assemble(("Unfinished:", "bold yellow"), unfinished)


def _note(run: TrainingRun) -> Iterator[RenderableType]:
    outcome = outcome_words(run.outcome)
    name = f"Batch size {units.format_count(run.batch_size)}:"
    yield Text.assemble((name, "bold yellow"), f" {outcome}")
    yield Padding(Text(run.message, overflow="fold"), (0, 0, 0, 2))

"""Trials as rows, and labelled lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autobatch import units
from autobatch.records import Outcome, Trial
from autobatch.reporting.wording import OUTCOMES

Row = tuple[str, RenderableType]

CHOICE_MARK = ">"
KNEE_MARK = "*"
THROTTLED_MARK = "!"

_NOTHING = "-"
_LABEL_WIDTH = 17
_OUTCOME_STYLES = {
    Outcome.FITS: "green",
    Outcome.OUT_OF_MEMORY: "red",
    Outcome.OVER_BUDGET: "red",
    Outcome.KILLED: "bold red",
    Outcome.TIMED_OUT: "yellow",
}


def trials_table(
    trials: Iterable[Trial],
    *,
    budget_bytes: int | None = None,
    marks: Mapping[int, str] | None = None,
) -> Table:
    """One row per trial, by batch size.

    Args:
        trials: Trials in any order.
        budget_bytes: What peaks are a share of; ``None`` if it is not known.
        marks: One character for the rows of some batch sizes.
    """
    table = marked_table(
        "batch", "outcome", "peak", "of budget", "step time", "spread", "samples/s"
    )
    for trial in sorted(trials, key=lambda trial: trial.batch_size):
        mark = (marks or {}).get(trial.batch_size, "")
        table.add_row(
            mark, *_cells(trial, budget_bytes), style="bold" if mark == CHOICE_MARK else ""
        )
    return table


def marked_table(*headers: str) -> Table:
    """An empty table whose first column is for a mark; words stand left, figures right."""
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
    )
    table.add_column("", width=1)
    for header in headers:
        is_word = header in ("outcome", "kind")
        table.add_column(header, justify="left" if is_word else "right", no_wrap=True)
    return table


def outcome_text(outcome: Outcome, *, is_throttled: bool = False) -> Text:
    """An outcome in words and colour.

    Args:
        outcome: The outcome.
        is_throttled: Whether the device's clocks were held down meanwhile.
    """
    words = OUTCOMES[outcome] + (f" {THROTTLED_MARK}" if is_throttled else "")
    return Text(words, style=_OUTCOME_STYLES[outcome])


def throughput_figure(samples_per_s: float | None) -> str:
    """A throughput for a column whose header has the unit."""
    if samples_per_s is None:
        return _NOTHING
    return units.format_rate(samples_per_s).removesuffix(" samples/s")


def labelled(rows: Iterable[Row]) -> Padding:
    """Lines with a label before each, indented by two."""
    grid = Table.grid(padding=(0, 2), pad_edge=False)
    grid.add_column(width=_LABEL_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(label, value)
    return Padding(grid, (0, 0, 0, 2))


def _cells(trial: Trial, budget_bytes: int | None) -> tuple[RenderableType, ...]:
    peak, step_time_s, spread = trial.peak_bytes, trial.step_time_s, trial.spread_fraction
    share = peak / budget_bytes if peak is not None and budget_bytes else None
    return (
        units.format_count(trial.batch_size),
        outcome_text(trial.outcome, is_throttled=bool(trial.throttle_reasons)),
        _NOTHING if peak is None else units.format_bytes(peak),
        _NOTHING if share is None else units.format_fraction(share),
        _NOTHING if step_time_s is None else units.format_seconds(step_time_s),
        _NOTHING if spread is None else units.format_fraction(spread),
        throughput_figure(trial.samples_per_s),
    )

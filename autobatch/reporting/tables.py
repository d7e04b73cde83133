"""Trials as rows, and labelled lines."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich import box
from rich.cells import cell_len
from rich.console import JustifyMethod, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autobatch import units
from autobatch.records import (
    BATCHES,
    Along,
    Confidence,
    Outcome,
    SizeEstimate,
    TimingDecision,
    Trial,
)
from autobatch.reporting.screen import keep_units
from autobatch.reporting.wording import OUTCOMES

Row = tuple[str, RenderableType]
_Number = TypeVar("_Number", int, float)

CHOICE_MARK = ">"

_NOTHING = "-"
_LABEL_WIDTH = 17
_OUTCOME_STYLES = {
    Outcome.FITS: "green",
    Outcome.OUT_OF_MEMORY: "red",
    Outcome.OVER_BUDGET: "red",
    Outcome.KILLED: "bold red",
    Outcome.TIMED_OUT: "yellow",
    Outcome.FAILED: "red",
}


@dataclass(frozen=True, slots=True)
class Note:
    """What is said of a size at the end of its row.

    Attributes:
        long: Where there is room.
        short: Where there is little.
    """

    long: str
    short: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column, whole or not at all.

    Attributes:
        header: Its title.
        cells: One for each row.
        is_words: Whether it stands left.
        styles: One for each row; empty for none.
    """

    header: str
    cells: tuple[str, ...]
    is_words: bool = False
    styles: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        """Characters that it takes, the blanks before the next one included."""
        return max(map(cell_len, (self.header, *self.cells))) + 2


def trials_table(
    trials: Iterable[Trial],
    *,
    width: int,
    budget_bytes: int | None = None,
    decision: TimingDecision | None = None,
    chosen: int | None = None,
    notes: Mapping[int, Note] | None = None,
    along: Along = BATCHES,
) -> Table:
    """One row per trial, by batch size.

    A narrow table leaves out columns, and cuts no figure.

    Args:
        trials: Trials in any order.
        width: Characters that there are.
        budget_bytes: What peaks are a fraction of; ``None`` if it is not known.
        decision: The estimates to show; without them the medians of the trials.
        chosen: The recommended size.
        notes: What to say of some sizes.
        along: What the sizes are.
    """
    rows = sorted(trials, key=lambda trial: trial.batch_size)
    columns = fit_columns(rows, width, budget_bytes, decision, notes or {}, along)
    table = _empty_table()
    table.add_column("", width=1)
    _add_columns(table, columns)
    for index, trial in enumerate(rows):
        is_chosen = trial.batch_size == chosen
        style = "bold" if is_chosen else "" if trial.fits else _OUTCOME_STYLES[trial.outcome]
        cells = (column.cells[index] for column in columns)
        table.add_row(CHOICE_MARK if is_chosen else "", *cells, style=style)
    return table


def fitting_table(
    columns: Sequence[Column],
    *,
    width: int,
    dropped: Sequence[str],
    marked: Container[int] | None = None,
) -> Table:
    """A table that leaves out columns where it is narrow, and cuts no figure.

    Args:
        columns: All of them.
        width: Characters that there are.
        dropped: Headers of the columns to do without, the first one first.
        marked: Rows with a mark before them; ``None`` for a table without marks.
    """
    kept, margin = list(columns), 0 if marked is None else 3
    for header in dropped:
        if margin + sum(column.width for column in kept) <= width:
            break
        kept = [column for column in kept if column.header != header]
    table = _empty_table()
    if marked is not None:
        table.add_column("", width=1)
    _add_columns(table, kept)
    for index in range(len(columns[0].cells)):
        cells = [
            Text(column.cells[index], style=column.styles[index] if column.styles else "")
            for column in kept
        ]
        is_marked = marked is not None and index in marked
        mark = [] if marked is None else [CHOICE_MARK if is_marked else ""]
        table.add_row(*mark, *cells, style="bold" if is_marked else "")
    return table


def describe_outcome(trial: Trial, *, is_short: bool = False) -> str:
    """How a trial ended; and of memory that ran out, what was asked for: ``+10.0 GiB``.

    Args:
        trial: Any trial.
        is_short: Whether to leave that out.
    """
    asked_for = trial.requested_bytes
    more = "" if asked_for is None or is_short else f" at +{units.format_bytes(asked_for)}"
    return f"{OUTCOMES[trial.outcome]}{more}"


def outcome_text(outcome: Outcome) -> Text:
    """An outcome in words and colour."""
    return Text(OUTCOMES[outcome], style=_OUTCOME_STYLES[outcome])


def throughput_figure(samples_per_s: float | None) -> str:
    """A throughput for a column whose header has the unit."""
    if samples_per_s is None:
        return _NOTHING
    return units.format_rate(samples_per_s).removesuffix(" samples/s")


def throughput_interval(estimate: SizeEstimate) -> str:
    """The interval of a throughput, for a column whose header has the unit."""
    return f"{throughput_figure(estimate.low)} to {throughput_figure(estimate.high)}"


def versus_best(estimate: SizeEstimate, *, with_figure: bool = True) -> str:
    """A throughput beside that of the fastest size, with its interval: ``93 % (85 to 101)``.

    Args:
        estimate: Of the size.
        with_figure: Whether to say more than the interval.
    """
    low, high = (f"{100 * each:.0f}" for each in (estimate.vs_best_low, estimate.vs_best_high))
    share = units.format_fraction(estimate.vs_best_fraction)
    if low == high:  # the fastest itself
        return share
    return f"{share} ({low} to {high})" if with_figure else f"{low} to {high} %"


def labelled(rows: Iterable[Row]) -> Padding:
    """Lines with a label before each, indented by two."""
    grid = Table.grid(padding=(0, 2), pad_edge=False)
    grid.add_column(width=_LABEL_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")
    for label, value in rows:
        grid.add_row(label, keep_units(value))
    return Padding(grid, (0, 0, 0, 2))


def _empty_table() -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
        header_style="bold",
    )


def _add_columns(table: Table, columns: Iterable[Column]) -> None:
    for column in columns:
        justify: JustifyMethod = "left" if column.is_words else "right"
        table.add_column(column.header, justify=justify, no_wrap=True)


def fit_columns(
    rows: Sequence[Trial],
    width: int,
    budget_bytes: int | None,
    decision: TimingDecision | None,
    notes: Mapping[int, Note],
    along: Along = BATCHES,
) -> list[Column]:
    """The columns that there is room for, those that are missed most kept longest.

    Args:
        rows: Trials by batch size.
        width: Characters that there are.
        budget_bytes: What peaks are a fraction of; ``None`` if it is not known.
        decision: The estimates to show; without them the medians of the trials.
        notes: What to say of some sizes.
        along: What the sizes are.
    """
    figures = [_Figures(trial, decision, along) for trial in rows]
    rate = f"{along.unit}/s"
    fractions = [
        (each.peak_bytes + (each.requested_bytes or 0)) / budget_bytes
        if budget_bytes and each.peak_bytes is not None
        else None
        for each in rows
    ]
    known = {
        along.column: [units.format_count(trial.batch_size) for trial in rows],
        "peak": [_or_nothing(trial.peak_bytes, units.format_bytes) for trial in rows],
        "of budget": [_or_nothing(fraction, units.format_fraction) for fraction in fractions],
        "step time": [_or_nothing(each.step_time_s, units.format_seconds) for each in figures],
        rate: [each.throughput for each in figures],
        "90 % interval": [each.interval for each in figures],
        "vs best": [each.vs_best for each in figures],
    }
    long = _note_column([_note(trial, notes, is_short=False) for trial in rows])
    short = _note_column([_note(trial, notes, is_short=True) for trial in rows])
    columns = {name: Column(name, tuple(cells)) for name, cells in known.items()}
    if decision is None:
        del columns["90 % interval"], columns["vs best"]
    elif decision.confidence is Confidence.LOW:  # the intervals are all that can be said
        del columns["90 % interval"], columns["step time"]
    if along.seeks_largest:  # which is not compared by its speed
        columns.pop("vs best", None)
    note = long
    for dropped in ("of budget", "90 % interval", "step time", "", "peak", "vs best"):
        taken = 3 + sum(each.width for each in (*columns.values(), note))
        if taken <= width:
            break
        if dropped:
            columns.pop(dropped, None)
        else:
            note = short
    return [*columns.values(), note] if any(note.cells) else [*columns.values()]


class _Figures:
    """What a row says of time: the estimate, or without one the medians of the trial."""

    def __init__(self, trial: Trial, decision: TimingDecision | None, along: Along) -> None:
        self.step_time_s = trial.step_time_s
        rate = trial.samples_per_s
        self.throughput = throughput_figure(rate and along.rate(trial.batch_size, rate))
        self.interval = self.vs_best = _NOTHING
        if decision is None:
            return
        estimate = decision.estimate_of(trial.batch_size)
        if estimate is None:
            self.step_time_s, self.throughput = None, _NOTHING
            return
        self.step_time_s = estimate.step_time_s
        estimate = along.convert(estimate)
        self.interval = throughput_interval(estimate)
        is_sure = decision.confidence is Confidence.HIGH
        self.throughput = throughput_figure(estimate.samples_per_s) if is_sure else self.interval
        self.vs_best = versus_best(estimate, with_figure=is_sure)


def _note(trial: Trial, notes: Mapping[int, Note], *, is_short: bool) -> str:
    note = notes.get(trial.batch_size)
    parts = [] if trial.fits else [describe_outcome(trial, is_short=is_short)]
    if note is not None:
        parts.append(note.short if is_short else note.long)
    if trial.throttle_reasons:
        parts.append("throttled")
    return "; ".join(parts)


def _note_column(cells: Sequence[str]) -> Column:
    return Column("", tuple(cells), is_words=True)


def _or_nothing(value: _Number | None, write: Callable[[_Number], str]) -> str:
    return _NOTHING if value is None else write(value)

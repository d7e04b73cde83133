"""A tuning as text: the verdict, the ladder, what was not worth it, what to paste."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autobatch import units
from autobatch.reporting.screen import show
from autobatch.reporting.tables import Column, Row, fitting_table, labelled
from autobatch.shell.flags import to_flags
from autobatch.tuning.ratios import mean_of
from autobatch.tuning.recipe import write_recipes
from autobatch.tuning.records import Attempt, AttemptOutcome, Tuning
from autobatch.tuning.report.wording import (
    START,
    describe_attempt,
    describe_changes,
    describe_lever,
)

_NOTHING = "-"
_LEGEND = "samples/s: on the scale of the start, each timed in turn with it; interval of 90 %"


def render_tuning(tuning: Tuning, console: Console) -> None:
    """Print a tuning, for a person to read.

    Args:
        tuning: What to print.
        console: Where to; its width, colours and encoding are respected.
    """
    start = tuning.start
    headline = Text.assemble(
        (tuning.target, "bold"), " on ", (start.device, "bold"),
        f" ({start.environment.device_name}; PyTorch {start.environment.torch_version})",
    )  # fmt: skip
    show(console, headline, "", labelled(_verdict_rows(tuning)))
    show(console, "", Text("Ladder", style="bold"), _ladder(tuning, console.width))
    show(console, Text(_LEGEND, style="dim"))
    others = [*_others(tuning)]
    if others:
        show(console, "", Text("Not used", style="bold"))
    for line in others:
        show(console, Padding(Text(line, overflow="fold"), (0, 0, 0, 2)))
    show(console, "", Text("Train with", style="bold"))
    for name, lines in write_recipes(tuning).items():
        show(console, f"  {name}")
        for line in lines:
            show(console, Padding(Text(line, overflow="fold"), (0, 0, 0, 4)))


def _verdict_rows(tuning: Tuning) -> Iterator[Row]:
    low, high = tuning.interval
    is_own = tuning.best.changes == {} and tuning.batch_size == tuning.start.own_batch_size
    name = describe_changes(tuning.changes)
    settings = f"{name}, batch size {units.format_count(tuning.batch_size)}"
    if tuning.gradient_accumulation_steps > 1:
        settings += f" in {tuning.gradient_accumulation_steps} passes"
    yield "train with", Text(settings, style="bold green" if tuning.is_sure else "bold")
    if is_own:
        so_far = "" if tuning.is_complete else "so far "
        yield "why", Text(f"nothing that was tried {so_far}trains faster")
        for held in tuning.held[1:2]:
            ratios = tuning.ratios_of(held)
            low, high = tuning.interval_of(ratios)
            times = f"{mean_of(ratios):.2f} times as fast ({low:.2f} to {high:.2f})"
            name = describe_changes(held.changes)
            yield "", Text(f"{name}, the fastest of the search: {times} in fresh processes")
    else:
        rounds = f"{len(tuning.ratios)} {'round' if len(tuning.ratios) == 1 else 'rounds'} in turn"
        fresh = ", each run in a fresh process" if tuning.held else ""
        how = f"in {rounds}{fresh or '; not held again in fresh processes'}"
        speed = f"{tuning.speedup:.2f} times as fast as your settings ({low:.2f} to {high:.2f})"
        yield "why", Text(f"{speed}, {how}")
    if not is_own and not tuning.is_sure:
        yield "", Text("timings leave open whether it is faster at all", style="yellow")
    if not tuning.is_complete:
        yield "", Text("not all was tried: go on with --resume FILE", style="yellow")
    asked = tuning.settings.global_batch_size
    fixed = "free: it follows the batch size" if asked is None else units.format_count(asked)
    yield "global batch", Text(fixed)
    budget = tuning.start.budget
    yield "memory", Text(f"{units.format_bytes(budget.budget_bytes)} ({budget.bound_by})")
    time = units.format_seconds(tuning.tuning_time_s)
    tried = (
        "only your settings" if len(tuning.attempts) == 1 else f"{len(tuning.attempts)} settings"
    )
    yield "tried", Text(f"{tried} in {time}")


def _ladder(tuning: Tuning, width: int) -> Table:
    rungs = [tuning.attempts[number] for number in tuning.ladder]
    own = _own_rung(tuning)
    rows = [*([] if own is None else [(START, own)])]
    before: dict[str, str] = {}
    for rung in rungs:
        added = {name: value for name, value in rung.changes.items() if name not in before}
        name = " + ".join(describe_lever(*each) for each in added.items())
        rows.append((f"+ {name}" if name else START if own is None else "+ batch size", rung))
        before = rung.changes
    first = tuning.rate_of(rows[0][1]) or 1.0
    columns = [
        Column("settings", tuple(name for name, _ in rows), is_words=True),
        Column("batch", tuple(units.format_count(rung.batch_size or 0) for _, rung in rows)),
        Column("peak", tuple(_peak(rung) for _, rung in rows)),
        Column("samples/s", tuple(units.format_count(tuning.rate_of(rung)) for _, rung in rows)),
        Column("interval", tuple(_interval(tuning, rung) for _, rung in rows)),
        Column("epoch", tuple(_epoch(tuning, rung) for _, rung in rows)),
        Column("ratio", tuple(f"{tuning.rate_of(rung) / first:.2f}" for _, rung in rows)),
    ]
    marked = [n for n, (_, rung) in enumerate(rows) if rung is tuning.best]
    return fitting_table(columns, width=width, dropped=("interval", "epoch", "peak"), marked=marked)


def _own_rung(tuning: Tuning) -> Attempt | None:
    """The start at the user's own size; ``None`` if that is its best."""
    start = tuning.attempts[0]
    size = tuning.start.own_batch_size
    found = next((each for each in start.sizes if each[0] == size), None)
    if size == start.batch_size or found is None:
        return None
    return Attempt(
        changes={},
        outcome=AttemptOutcome.MEASURED,
        batch_size=size,
        peak_bytes=found[2],
        ratios=(tuning.start.own_ratio,),
    )


def _peak(attempt: Attempt) -> str:
    return _NOTHING if attempt.peak_bytes is None else units.format_bytes(attempt.peak_bytes)


def _interval(tuning: Tuning, attempt: Attempt) -> str:
    if not attempt.changes:
        return _NOTHING
    rate = tuning.attempts[0].samples_per_s or 0.0
    low, high = (units.format_count(rate * each) for each in tuning.interval_of(attempt.ratios))
    return f"{low} to {high}"


def _epoch(tuning: Tuning, attempt: Attempt) -> str:
    time_s = tuning.epoch_time_s(attempt)
    return _NOTHING if time_s is None else units.format_seconds(time_s)


def _others(tuning: Tuning) -> Iterator[str]:
    """What was tried one at a time and is not used, and what was not tried, with the reason."""
    for attempt in tuning.attempts[1:]:
        is_used = attempt.changes.items() <= tuning.changes.items()
        if not is_used:
            yield describe_attempt(attempt)
    for name, why in tuning.start.refused.items():
        yield f"{name}: not tried: {to_flags(why)}"

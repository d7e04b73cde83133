"""A replayed snapshot as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from autobatch import units
from autobatch.planning.records import RerunAtLimit, SnapshotPlan, Variant
from autobatch.planning.report.text import NOTHING_RUN
from autobatch.reporting.screen import show
from autobatch.reporting.tables import Column, Row, fitting_table, labelled

_CLOSE_FRACTION = 0.01


def render_snapshot_plan(plan: SnapshotPlan, console: Console) -> None:
    """Print a replayed snapshot, for a person to read.

    Args:
        plan: What to print.
        console: Where to; its width, colours and encoding are respected.
    """
    show(console, _verdict(plan), Text(NOTHING_RUN), "", labelled(_header_rows(plan)))
    show(console, "", _table(plan, console.width))


def _verdict(plan: SnapshotPlan) -> Text:
    best = _best(plan.variants)
    how = "" if best is plan.variants[0] else f" with {best.setting}"
    needs = f"{units.format_bytes(best.least_bytes)} for the allocator is enough{how}"
    if not plan.fits:
        return Text(f"{plan.snapshot} does not fit with any setting; {needs}", style="bold red")
    saving = next((each for each in plan.variants if plan.ran_out and each.at_limits[0].fits), None)
    if saving is not None:
        return Text(f"{plan.snapshot} would have fitted with {saving.setting}", style="bold green")
    return Text(f"{plan.snapshot}: {needs}", style="bold green")


def _best(variants: Sequence[Variant]) -> Variant:
    """The first that needs as little as any, within how closely that is known."""
    least_bytes = min(each.least_bytes for each in variants)
    close = (each for each in variants if each.least_bytes <= (1 + _CLOSE_FRACTION) * least_bytes)
    return next(close)


def _header_rows(plan: SnapshotPlan) -> Iterator[Row]:
    ended = ", and the last one that failed" if plan.ran_out else ""
    yield (
        "replayed",
        Text(f"{units.format_count(plan.num_requests)} requests of GPU {plan.device}{ended}"),
    )
    yield "in use", Text(f"{units.format_bytes(plan.peak_allocated_bytes)} at the peak")
    if plan.num_initial_blocks:
        blocks = units.format_count(plan.num_initial_blocks)
        yield (
            "recorded late",
            Text(
                f"{blocks} blocks were in use when recording began: under other settings they are "
                "asked for anew"
            ),
        )
    for each in plan.limits:
        low, high = units.format_bytes(each.low_bytes), units.format_bytes(each.high_bytes)
        yield each.name, Text(f"{low if low == high else f'{low} to {high}'} for the allocator")


def _table(plan: SnapshotPlan, width: int) -> Table:
    variants = plan.variants
    columns = [
        Column("setting", tuple(each.setting for each in variants), is_words=True),
        Column("reserved", _bytes(each.peak_reserved_bytes for each in variants)),
        Column("least memory", _bytes(each.least_bytes for each in variants)),
    ]
    for index, limit in enumerate(plan.limits):
        outcomes = [each.at_limits[index] for each in variants]
        columns.append(
            Column(
                limit.name,
                tuple(map(_words, outcomes)),
                is_words=True,
                styles=tuple("green" if each.fits else "red" for each in outcomes),
            )
        )
    return fitting_table(columns, width=width, dropped=("reserved",))


def _bytes(sizes: Iterable[int]) -> tuple[str, ...]:
    return tuple(map(units.format_bytes, sizes))


def _words(outcome: RerunAtLimit) -> str:
    if not outcome.fits:
        failed = units.format_bytes(outcome.failed_bytes or 0)
        return f"fails at {failed}" if outcome.is_certain else f"may fail at {failed}"
    words = "fits" if outcome.is_certain else "should fit"
    retries = outcome.num_alloc_retries
    return words if not retries else f"{words}, {units.format_count(retries)} retries"

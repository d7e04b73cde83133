"""What each of several processes took, in the report of a finding."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from rich.text import Text

from autobatch import units
from autobatch.records import Finding, RankReading
from autobatch.reporting.tables import Row

# With more ranks than this, those that hold least are left out.
_MOST_SHOWN = 8


def rank_rows(finding: Finding) -> Iterator[Row]:
    """How many processes train together, and what each took at the recommended size.

    Args:
        finding: Of one process or of several; nothing is said of one.
    """
    workload = finding.workload
    if workload.num_ranks == 1:
        return
    yield "processes", Text(f"{workload.num_ranks} that train together, {workload.parallel}")
    readings = next(each.ranks for each in finding.trials if each.batch_size == finding.batch_size)
    peaks = [(each.rank, each.peak_bytes) for each in readings if each.peak_bytes is not None]
    if peaks:
        peaks = sorted(peaks, key=lambda each: -each[1])[:_MOST_SHOWN]
        shown = [f"rank {rank} {units.format_bytes(peak)}" for rank, peak in sorted(peaks)]
        yield "peak by rank", Text(", ".join(shown))
    if exchange := _describe_exchange(readings):
        yield "exchange", Text(exchange)


def _describe_exchange(readings: tuple[RankReading, ...]) -> str:
    """What a step exchanges, and how long ranks wait for each other; empty if not known."""
    waits = [(each.wait_s, each.rank) for each in readings if each.wait_s is not None]
    sizes = [each.exchanged_bytes for each in readings if each.exchanged_bytes is not None]
    calls = [each.num_exchanges for each in readings if each.num_exchanges is not None]
    if not waits or not sizes or not calls:
        return ""
    if not any(calls):
        return "none was seen: is the model wrapped?"
    (least_s, first), (most_s, last) = min(waits), max(waits)
    count = max(calls)
    return (
        f"{units.format_bytes(round(median(sizes)))} a step in {count} "
        f"{'collective' if count == 1 else 'collectives'}; before them rank {last} waited "
        f"{units.format_seconds(most_s)} and rank {first} {units.format_seconds(least_s)}"
    )

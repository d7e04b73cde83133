"""What each of several processes took, in the report of a finding."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from autobatch import units
from autobatch.records import Finding, GroupCost, RankReading
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
    if finding.group is not None:
        yield from _cost_rows(finding.group, finding.settings.tolerance_fraction)


def _describe_exchange(readings: tuple[RankReading, ...]) -> str:
    """What a step exchanges, and how long ranks wait for each other; empty if not known."""
    waits = [(each.wait_s, each.rank) for each in readings if each.wait_s is not None]
    known = [each for each in readings if each.exchanges is not None]
    if not waits or not known:
        return ""
    most = max(known, key=lambda each: each.num_exchanges)
    if not most.exchanges:
        return "none was seen: is the model wrapped?"
    parts = [
        f"{each.collective} of {units.format_bytes(each.num_bytes)} in {each.num_calls} "
        f"{'call' if each.num_calls == 1 else 'calls'}"
        for each in most.exchanges
    ]
    (least_s, first), (most_s, last) = min(waits), max(waits)
    return (
        f"{', '.join(parts)} a step; before them rank {last} waited "
        f"{units.format_seconds(most_s)} and rank {first} {units.format_seconds(least_s)}"
    )


def _cost_rows(cost: GroupCost, tolerance_fraction: float) -> Iterator[Row]:
    if cost.straggler is not None and cost.straggler_factor is not None:
        yield (
            "straggler",
            Text(
                f"rank {cost.straggler} is busy {cost.straggler_factor:.1f} times as long as the "
                "others, which wait for it"
            ),
        )
    if scaling := _describe_scaling(cost, tolerance_fraction):
        yield "scaling", Text(scaling)
    if cost.sizes:
        sizes = ", ".join(
            f"rank {each.rank} {units.format_count(each.batch_size)} (loss x "
            f"{each.loss_weight:.3f})"
            for each in cost.sizes
        )
        time_s = cost.sizes_step_time_s
        ran = "they did not fit" if time_s is None else f"a step {units.format_seconds(time_s)}"
        yield "sizes by speed", Text(f"{sizes}: {ran}")


def _describe_scaling(cost: GroupCost, tolerance_fraction: float) -> str:
    alone_s, together_s = cost.alone_step_time_s, cost.together_step_time_s
    if alone_s is None or together_s is None or cost.scaling_efficiency is None:
        return f"not measured: {cost.reason}" if cost.reason else ""
    text = (
        f"{units.format_fraction(cost.scaling_efficiency)} of as many ranks by themselves: a step "
        f"takes {units.format_seconds(together_s)}, and {units.format_seconds(alone_s)} on one"
    )
    if cost.enough_batch_size is None:
        return text
    percent = units.format_fraction(tolerance_fraction)
    size = units.format_count(cost.enough_batch_size)
    return f"{text}; within {percent} of it from about {size} samples a rank on"

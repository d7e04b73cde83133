"""Throughput against batch size: the estimates, what is close to the fastest, the choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from autobatch import units
from autobatch.records import Finding, SizeEstimate, ThroughputCurve
from autobatch.reporting.axes import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    dress,
    plain_number,
    spaced_sizes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# As a fraction of the axis: a name in the middle of a point nearer than this would leave the panel.
_NEAR_EDGE = 0.2


def draw_throughput(axes: Axes, finding: Finding, sizes: Sequence[int]) -> None:
    """Draw the left panel.

    Args:
        axes: Where to.
        finding: What to draw.
        sizes: Batch sizes that the axis must show.
    """
    along = finding.settings.along
    estimates = tuple(map(along.convert, finding.decision.estimates))
    finding = replace(finding, decision=replace(finding.decision, estimates=estimates))
    eagerly = " eagerly" if finding.workload.is_compiled else ""
    timed = [each for each in estimates if each.num_steps > 1]
    _draw_estimates(axes, timed, BLUE, f"estimate{eagerly}, with 90 % interval")
    single = [each for each in estimates if each.num_steps <= 1]
    _draw_estimates(axes, single, GREY, "from a single step")
    curve = finding.throughput_curve
    # A line in the size is no curve of what grows with its square.
    if curve is not None and curve.is_good and not along.seeks_largest:
        _draw_curve(axes, curve, [each.batch_size for each in estimates])
    heights = [each.high for each in estimates]
    heights += [*_draw_goodput(axes, finding), *_draw_compiled(axes, finding)]
    highest = max(heights, default=1.0)
    # Above the highest point there is room for the names of sizes.
    axes.set_ylim(0, 1.25 * highest)
    if not along.seeks_largest:
        _draw_tolerance(axes, finding)
    _name_sizes(axes, finding)
    axes.set_ylabel(f"throughput ({along.unit}/s)", labelpad=8)
    axes.yaxis.set_major_formatter(plain_number)
    dress(axes, sizes, along.noun)


def _draw_estimates(axes: Axes, estimates: Sequence[SizeEstimate], color: str, label: str) -> None:
    if not estimates:
        return
    rates = [each.samples_per_s for each in estimates]
    below = [each.samples_per_s - each.low for each in estimates]
    above = [each.high - each.samples_per_s for each in estimates]
    axes.errorbar(
        [each.batch_size for each in estimates],
        rates,
        yerr=(below, above),
        fmt="o",
        color=color,
        markersize=5,
        capsize=2.5,
        elinewidth=1,
        zorder=3,
        label=label,
    )


def _draw_tolerance(axes: Axes, finding: Finding) -> None:
    """A line at the throughput that counts as being as fast as the fastest."""
    rates = [each.samples_per_s for each in finding.decision.estimates]
    if not rates:
        return
    tolerance = finding.settings.tolerance_fraction
    label = f"{units.format_fraction(1 - tolerance)} of the fastest"
    height = (1 - tolerance) * max(rates)
    axes.axhline(height, color=ORANGE, linewidth=1.2, linestyle="--", zorder=1, label=label)


def _name_sizes(axes: Axes, finding: Finding) -> None:
    """Name the recommended size and the user's own beside their points."""
    decision, chosen = finding.decision, finding.batch_size
    names = {chosen: "recommended"}
    if decision.your_batch_size is not None:
        own = decision.your_batch_size
        names[own] = "recommended, yours" if own == chosen else "yours"
    sizes = [each.batch_size for each in decision.estimates]
    smallest, largest = min(sizes, default=0), max(sizes, default=0)
    for size, name in names.items():
        estimate = decision.estimate_of(size)
        if estimate is None:
            continue
        is_chosen = size == chosen
        color = GREEN if is_chosen else GREY
        axes.plot(
            [size],
            [estimate.samples_per_s],
            "o",
            color=color,
            markersize=11,
            markerfacecolor="none",
            markeredgewidth=1.8,
            zorder=4,
        )
        # The two names never meet: one stands above its point, the other below.
        above = is_chosen or estimate.samples_per_s < 0.15 * axes.get_ylim()[1]
        axes.annotate(
            f"{name}: {units.format_count(size)}",
            (size, estimate.high if above else estimate.low),
            xytext=(0, 9 if above else -9),
            textcoords="offset points",
            ha=_side(size, smallest, largest),
            va="bottom" if above else "top",
            color=color,
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1},
        )


def _side(size: int, smallest: int, largest: int) -> str:
    """Where a name stands about its point, so that it stays inside the panel."""
    place = math.log(size / smallest) / math.log(largest / smallest) if largest > smallest else 0.5
    return "left" if place < _NEAR_EDGE else "right" if place > 1 - _NEAR_EDGE else "center"


def _draw_goodput(axes: Axes, finding: Finding) -> list[float]:
    if finding.efficiency is None:
        return []
    sizes = [each.batch_size for each in finding.efficiency.goodputs]
    goodputs = [each.goodput_samples_per_s for each in finding.efficiency.goodputs]
    base = units.format_count(finding.efficiency.base_batch_size)
    label = f"goodput, in samples worth one at {base}"
    axes.plot(sizes, goodputs, "s--", color=PURPLE, markersize=4, linewidth=1.2, label=label)
    return goodputs


def _draw_compiled(axes: Axes, finding: Finding) -> list[float]:
    rate = finding.compiled_samples_per_s
    if rate is None:
        return []
    label = f"compiled: {units.format_rate(rate)}"
    axes.plot([finding.batch_size], [rate], "D", color=RED, markersize=6, zorder=4, label=label)
    return [rate]


def _draw_curve(axes: Axes, curve: ThroughputCurve, sizes: Sequence[int]) -> None:
    points = [size for size in spaced_sizes(sizes) if curve.step_time_s(size) > 0]
    if points:
        rates = [curve.samples_per_s(size) for size in points]
        axes.plot(points, rates, color=BLUE, linewidth=1.4, alpha=0.6, label="fitted curve")

"""Throughput against batch size: medians and quartiles, the curve, the knee and the choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import quantiles
from typing import TYPE_CHECKING

from autobatch import units
from autobatch.records import Finding, ThroughputCurve, Trial
from autobatch.reporting.axes import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    dress,
    plain_number,
    spaced_sizes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_throughput(axes: Axes, finding: Finding) -> None:
    """Draw the left panel."""
    timed = [trial for trial in finding.trials if trial.samples_per_s]
    sizes = [trial.batch_size for trial in timed]
    if finding.throughput_curve is not None:
        _draw_curve(axes, finding.throughput_curve, sizes)
    below, above = _quartile_distances(timed)
    eagerly = " eagerly" if finding.workload.is_compiled else ""
    rates = [trial.samples_per_s or 0.0 for trial in timed]
    axes.errorbar(
        sizes,
        rates,
        yerr=(below, above),
        fmt="o",
        color=BLUE,
        markersize=5,
        capsize=2.5,
        elinewidth=1,
        zorder=3,
        label=f"measured{eagerly}, median and quartiles",
    )
    _mark_sizes(axes, finding)
    others = [*_draw_goodput(axes, finding), *_draw_compiled(axes, finding)]
    highest = max([*map(sum, zip(rates, above, strict=True)), *others], default=1.0)
    axes.set_ylim(0, 1.12 * highest)
    axes.set_ylabel("throughput (samples/s)")
    axes.yaxis.set_major_formatter(plain_number)
    dress(axes, [*sizes, finding.recommendation.batch_size, finding.recommendation.knee])


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
    if not points:
        return
    label = "fitted curve" if curve.is_good else "fitted curve (poor)"
    style = "-" if curve.is_good else ":"
    rates = [curve.samples_per_s(size) for size in points]
    axes.plot(points, rates, style, color=BLUE, linewidth=1.4, label=label)
    _draw_band(axes, curve, points, rates)


def _draw_band(
    axes: Axes, curve: ThroughputCurve, points: Sequence[float], rates: Sequence[float]
) -> None:
    import numpy as np

    known = [row for row in sorted(curve.band) if row[0] > 0 and curve.step_time_s(row[0]) > 0]
    if len(known) < 2:
        return
    exponents = [math.log2(size) for size, _, _ in known]
    # As shares of the curve, so that the band bends with the curve between the sizes.
    low, high = (
        np.interp(
            np.log2(points), exponents, [row[edge] / curve.samples_per_s(row[0]) for row in known]
        )
        for edge in (1, 2)
    )
    axes.fill_between(
        points,
        low * np.asarray(rates),
        high * np.asarray(rates),
        color=BLUE,
        alpha=0.15,
        linewidth=0,
        label="90 % band of the curve",
    )


def _mark_sizes(axes: Axes, finding: Finding) -> None:
    knee, chosen = finding.recommendation.knee, finding.recommendation.batch_size
    label = f"recommended: {units.format_count(chosen)}"
    if knee == chosen:
        label = f"recommended, at the knee: {units.format_count(chosen)}"
    else:
        knee_label = f"knee: {units.format_count(knee)}"
        axes.axvline(knee, color=ORANGE, linewidth=1.2, linestyle="--", label=knee_label)
    axes.axvline(chosen, color=GREEN, linewidth=1, zorder=1)
    axes.plot(
        [chosen],
        [finding.recommendation.samples_per_s],
        "o-",
        markersize=11,
        markerfacecolor="none",
        markeredgewidth=1.8,
        color=GREEN,
        linewidth=1,
        zorder=4,
        label=label,
    )


def _quartile_distances(trials: Sequence[Trial]) -> tuple[list[float], list[float]]:
    """How far below and above the median throughput its quartiles are; 0 below 4 steps."""
    below, above = [], []
    for trial in trials:
        rate, times = trial.samples_per_s or 0.0, trial.step_times_s
        slow = fast = trial.step_time_s or 1.0
        if len(times) >= 4:
            fast, _, slow = quantiles(times, n=4, method="inclusive")
        below.append(max(0.0, rate - trial.batch_size / slow))
        above.append(max(0.0, trial.batch_size / fast - rate))
    return below, above

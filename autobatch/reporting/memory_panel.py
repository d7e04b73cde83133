"""Peak memory against batch size: measured, fitted, the budget and the sizes that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autobatch import units
from autobatch.records import Finding, MemoryCurve, Outcome
from autobatch.reporting.axes import (
    BLUE,
    GREEN,
    GREY,
    RED,
    dress,
    plain_number,
    set_power_ticks,
    spaced_sizes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# A linear axis would press small peaks flat beneath others this many times as high.
_MANY_FOLD = 16
# A budget this many times what was reached says that memory is no concern: it is named, not drawn.
_FAR = 4


def draw_memory(axes: Axes, finding: Finding, sizes: Sequence[int]) -> None:
    """Draw the right panel.

    Args:
        axes: Where to.
        finding: What to draw.
        sizes: Batch sizes that the axis must show.
    """
    budget_bytes = finding.budget.budget_bytes
    peaks = [trial.peak_bytes for trial in finding.trials if trial.peak_bytes]
    highest = _highest(finding, peaks) if peaks else 1
    is_far = bool(peaks) and budget_bytes > _FAR * highest
    heights = [*peaks, max(*peaks, highest if is_far else budget_bytes, 1)]
    scale, unit = (2**30, "GiB") if max(heights) >= 2**30 else (2**20, "MiB")
    if finding.memory_curve is not None:
        _draw_curve(axes, finding.memory_curve, finding, sizes, scale)
    fitted = {t.batch_size: t.peak_bytes for t in finding.trials if t.fits and t.peak_bytes}
    _scatter(axes, fitted, scale, "o", color=BLUE, markersize=5, label="measured")
    _draw_failures(axes, finding, scale)
    chosen = {size: fitted[size] for size in [finding.batch_size] if size in fitted}
    ring = {"markersize": 11, "markerfacecolor": "none", "markeredgewidth": 1.8}
    _scatter(axes, chosen, scale, "o", color=GREEN, label="recommended", **ring)
    line: dict[str, Any] = {"color": RED, "linewidth": 1.2, "linestyle": "--"}
    budget = f"budget: {units.format_bytes(budget_bytes)}"
    if is_far:
        axes.plot([], [], label=f"{budget}, far above", **line)
    else:
        axes.axhline(budget_bytes / scale, label=budget, **line)
    axes.set_ylabel(f"peak memory ({unit})", labelpad=8)
    _set_height(axes, [height / scale for height in heights])
    dress(axes, sizes, finding.settings.along.noun)


def _highest(finding: Finding, peaks: Sequence[int]) -> float:
    """The highest peak that is drawn; a trial that failed stands at the budget."""
    curve, recommendation = finding.memory_curve, finding.recommendation
    if any(not trial.fits for trial in finding.trials):
        return finding.budget.budget_bytes
    if curve is None or recommendation.largest_was_run:
        return max(peaks)
    return max(*peaks, curve.peak_bytes(recommendation.largest_batch_size))


def _draw_curve(
    axes: Axes, curve: MemoryCurve, finding: Finding, sizes: Sequence[int], scale: int
) -> None:
    peaks = [trial.peak_bytes or 0 for trial in finding.trials]
    top = 1.3 * max(finding.budget.budget_bytes, *peaks)
    points = [size for size in spaced_sizes(sizes) if 0 < curve.peak_bytes(size) <= top]
    if points:
        line = [curve.peak_bytes(size) / scale for size in points]
        axes.plot(points, line, color=BLUE, linewidth=1.4, label="fitted line")
    largest = finding.recommendation.largest_batch_size
    if not finding.recommendation.largest_was_run and curve.peak_bytes(largest) > 0:
        _scatter(
            axes,
            {largest: curve.peak_bytes(largest)},
            scale,
            "o",
            color=BLUE,
            markerfacecolor="white",
            markersize=6,
            label=f"largest, predicted: {units.format_count(largest)}",
        )


def _draw_failures(axes: Axes, finding: Finding, scale: int) -> None:
    budget_bytes = finding.budget.budget_bytes
    failed = [trial for trial in finding.trials if not trial.fits]
    late = {t.batch_size: t.peak_bytes or 0 for t in failed if t.outcome is Outcome.TIMED_OUT}
    # What a trial held when it failed may be less than the budget; what it asked for is not.
    refused = {
        trial.batch_size: max(trial.peak_bytes or 0, budget_bytes)
        for trial in failed
        if trial.outcome not in (Outcome.TIMED_OUT, Outcome.FAILED)
    }
    cross = {"markersize": 8, "markeredgewidth": 2}
    _scatter(axes, refused, scale, "x", color=RED, label="did not fit", **cross)
    known = {size: peak for size, peak in late.items() if peak}
    _scatter(axes, known, scale, "x", color=GREY, label="timed out", **cross)


def _scatter(
    axes: Axes, peaks: dict[int, int] | dict[int, float], scale: int, marker: str, **style: object
) -> None:
    if peaks:
        heights = [peak / scale for peak in peaks.values()]
        axes.plot(list(peaks), heights, marker, zorder=3, **style)  # type: ignore[arg-type]


def _set_height(axes: Axes, heights: Sequence[float]) -> None:
    low, high = min(heights), max(heights)
    if high / low < _MANY_FOLD:
        axes.set_ylim(0, 1.15 * high)
        axes.yaxis.set_major_formatter(plain_number)
        return
    axes.set_yscale("log", base=2)
    axes.set_ylim(low / 1.5, high * 1.5)
    set_power_ticks(axes.yaxis, low / 1.5, high * 1.5, fallback=(low, high))

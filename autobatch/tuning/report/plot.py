"""Memory against throughput of everything that was tried, with the front marked."""

from __future__ import annotations

import os
from typing import TypeAlias

from autobatch import units
from autobatch.reporting.axes import GREY, PALETTE, RED, dress, plain_number
from autobatch.reporting.figure import NotebookFigure
from autobatch.reporting.plot import new_figure, write_figure
from autobatch.tuning.records import Tuning
from autobatch.tuning.report.wording import describe_changes

_MIB = 2**20
# More settings than colours differ by these.
_MARKERS = "os^D"
# Names of points nearer than this would overlap.
_APART = 1.04
#: Peak in bytes, throughput in samples per second, batch size, name of the settings.
Point: TypeAlias = "tuple[int, float, int, str]"


def save_tuning_plot(tuning: Tuning, path: str | os.PathLike[str]) -> None:
    """Save a tuning as a png, svg or pdf file, replacing an existing one.

    Args:
        tuning: What to plot.
        path: The file; its suffix chooses the format.

    Raises:
        SettingsError: If it cannot be drawn or written.
    """
    write_figure(draw_tuning(tuning), path)


def list_points(tuning: Tuning) -> list[Point]:
    """Every size of everything that was measured, on the scale of the start's throughput."""
    points = []
    for attempt in tuning.attempts:
        scale = tuning.rate_of(attempt) / (attempt.samples_per_s or 1.0)
        name = describe_changes(attempt.changes)
        points += [
            (peak, scale * rate, size, name)
            for size, rate, peak in attempt.sizes
            if peak is not None
        ]
    return points


def find_front(points: list[Point]) -> list[Point]:
    """The points than which none is both faster and smaller, by memory."""
    front: list[Point] = []
    for point in sorted(points, key=lambda each: (each[0], -each[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def draw_tuning(tuning: Tuning) -> NotebookFigure:
    """Draw a tuning.

    Raises:
        SettingsError: If matplotlib is not installed.
    """
    points = list_points(tuning)
    figure = new_figure(f"{tuning.target} on {tuning.start.device}", width=9.0)
    axes = figure.subplots()
    for index, name in enumerate(dict.fromkeys(point[3] for point in points)):
        own = sorted(point for point in points if point[3] == name)
        axes.plot(
            [peak / _MIB for peak, *_ in own], [point[1] for point in own],
            marker=_MARKERS[index // len(PALETTE) % len(_MARKERS)], markersize=4, linewidth=0.8,
            alpha=0.7, label=name, color=PALETTE[index % len(PALETTE)],
        )  # fmt: skip
    front = find_front(points)
    axes.plot(
        [peak / _MIB for peak, *_ in front], [point[1] for point in front],
        color="black", linewidth=1.5, drawstyle="steps-post", label="front", zorder=1,
    )  # fmt: skip
    named_bytes = 0
    for peak, rate, size, _ in front:
        if peak < _APART * named_bytes:
            continue
        named_bytes = peak
        axes.annotate(units.format_count(size), (peak / _MIB, rate), fontsize=8, color=GREY,
                      xytext=(3, 4), textcoords="offset points")  # fmt: skip
    budget_bytes = tuning.start.budget.budget_bytes
    label = f"budget: {units.format_bytes(budget_bytes)}"
    axes.axvline(budget_bytes / _MIB, color=RED, linestyle="--", linewidth=1.2, label=label)
    axes.set_ylabel("throughput (samples/s)", labelpad=8)
    axes.yaxis.set_major_formatter(plain_number)
    peaks = [max(1, each // _MIB) for each in (budget_bytes, *(point[0] for point in points))]
    dress(axes, peaks, "peak memory (MiB)")
    return figure

"""The memory of one step over time, by what it is for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from autobatch import units
from autobatch.planning.records import Plan, Timeline
from autobatch.reporting.axes import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    YELLOW,
    plain_number,
)
from autobatch.reporting.plot import new_figure, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from autobatch.reporting.figure import NotebookFigure

_GIB = 2**30
# Least part of the highest moment that is named.
_THIN_FRACTION = 0.005
# A limit further away is not drawn.
_FAR_FACTOR = 1.5
# From what stays to what comes and goes, so that the lowest areas are level.
_COLORS = {
    "parameters": BLUE,
    "buffers": SKY,
    "optimizer state": PURPLE,
    "workspaces": GREY,
    "inputs": YELLOW,
    "gradients": ORANGE,
    "activations": GREEN,
    "temporary": RED,
}


def save_plan_plot(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Save the memory of one step as a png, svg or pdf file, replacing an existing one.

    Args:
        plan: Whose step to draw.
        path: The file; its suffix chooses the format.

    Raises:
        SettingsError: If it cannot be drawn or written.
    """
    write_figure(draw_plan(plan), path)


def draw_plan(plan: Plan) -> NotebookFigure:
    """Draw the memory of one step over time.

    Raises:
        SettingsError: If matplotlib is not installed.
    """
    timeline = plan.timeline
    size = units.format_count(timeline.batch_size)
    title = f"{plan.target} at batch size {size} on {timeline.gpu}, predicted: one training step"
    figure = new_figure(title, width=10.5)
    _draw(figure.subplots(), plan, timeline)
    return figure


def _draw(axes: Axes, plan: Plan, timeline: Timeline) -> None:
    parts = [name for name in _COLORS if any(timeline.parts_bytes.get(name, ()))]
    heights = [[num / _GIB for num in timeline.parts_bytes[name]] for name in parts]
    top = max(map(sum, zip(*heights, strict=True)))
    # What is too thin to be seen is not in the legend.
    labels = [
        name if max(each) > _THIN_FRACTION * top else f"_{name}"
        for name, each in zip(parts, heights, strict=True)
    ]
    colors = [_COLORS[name] for name in parts]
    axes.stackplot(
        timeline.positions, heights, labels=labels, colors=colors, step="post", linewidth=0
    )
    card = next(each for each in plan.cards if each.gpu == timeline.gpu)
    outside_bytes = (card.outside_low_bytes + card.outside_high_bytes) // 2
    limit = max(0, card.memory_bytes - outside_bytes) / _GIB
    if limit < _FAR_FACTOR * top:
        axes.axhline(limit, color=GREY, linestyle="--", linewidth=1)
        axes.annotate(
            f"limit on {timeline.gpu}", (1, limit), xycoords=("axes fraction", "data"),
            xytext=(-4, 3), textcoords="offset points", ha="right", color=GREY, fontsize=9,
        )  # fmt: skip
    axes.set_ylim(0, 1.12 * max(top, limit if limit < _FAR_FACTOR * top else 0))
    for name, position in timeline.begins.items():
        axes.axvline(position, color="#333333", linewidth=0.8)
        axes.annotate(
            name, (position, 1), xycoords=("data", "axes fraction"), xytext=(4, -12),
            textcoords="offset points", fontsize=9,
        )  # fmt: skip
    axes.set_xlim(timeline.positions[0], timeline.positions[-1])
    axes.xaxis.set_major_formatter(plain_number)
    axes.set_xlabel("allocations and frees of the step, in order")
    axes.set_ylabel("GiB in use")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    # In the order in which the areas lie on each other.
    axes.legend(
        handles[::-1], labels[::-1], loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False
    )

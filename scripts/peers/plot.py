"""Plots of the benchmark. Draws raw results; runs nothing."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autobatch.reporting.axes import BLUE, GREEN, GREY, ORANGE
from scripts.peers.table import OURS, find_fastest_peers, score_all, search_ratio

# Of a name, on the axis of throughput.
_NAME_HEIGHT = 0.07


def plot_finders(document: Mapping[str, Any], path: Path) -> None:
    """Throughput at the answer against search time, a point for each finder and workload.

    Search time is over the fastest peer's on that workload.
    """
    scores = score_all(document)
    peers = find_fastest_peers(scores)
    draw_finders(
        {
            finder: [
                (ratio, statistics.median(score.throughput_ratios))
                for score in scores
                if score.finder == finder
                and score.throughput_ratios
                and (ratio := search_ratio(score, peers)) is not None
            ]
            for finder in dict.fromkeys(score.finder for score in scores)
        },
        path,
    )


def draw_finders(points: Mapping[str, Sequence[tuple[float, float]]], path: Path) -> None:
    """A small mark for each workload; at a finder's medians a large one, with its name.

    Args:
        points: By finder, search time over that of the fastest peer and throughput over the best.
        path: SVG file.
    """
    plt = _load_pyplot()
    figure, axes = plt.subplots(figsize=(8, 4.5))
    colors = dict(zip(OURS, (BLUE, GREEN), strict=True))
    middles = {
        finder: tuple(map(statistics.median, zip(*each, strict=True)))
        for finder, each in points.items()
        if each
    }
    axes.axhline(0.95, color=ORANGE, linewidth=1.2, linestyle="--", zorder=1)
    taken: list[float] = []
    for finder, middle in sorted(middles.items(), key=lambda each: -each[1][1]):
        color = colors.get(finder, GREY)
        axes.scatter(*zip(*points[finder], strict=True), s=10, color=color, alpha=0.35)
        axes.scatter(*middle, s=60, color=color, zorder=3)
        # Names stand in a column of their own beside the panel, in the order of the medians.
        height = min([middle[1], *(each - _NAME_HEIGHT for each in taken[-1:])])
        taken.append(height)
        axes.annotate(
            finder, middle, xytext=(1.03, height), textcoords=("axes fraction", "data"),
            color=color, fontsize=9, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "alpha": 0.6},
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("search time / fastest peer that searches")
    axes.set_ylabel("throughput at the answer / best")
    axes.set_ylim(-0.05, 1.2)
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    _save(figure, path)


def plot_scaling(
    panels: Sequence[tuple[str, Mapping[str, Sequence[tuple[float, float]]]]], path: Path
) -> None:
    """One panel for each thing that grows.

    Args:
        panels: Label of the x axis, and by finder the points (x, search time in seconds).
        path: SVG file.
    """
    plt = _load_pyplot()
    figure, row = plt.subplots(1, len(panels), figsize=(4.5 * len(panels), 4), squeeze=False)
    for axes, (label, lines) in zip(row[0], panels, strict=True):
        for finder, points in lines.items():
            if points:
                axes.plot(*zip(*points, strict=True), marker="o", label=finder)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel("search time, s")
        axes.legend(fontsize=7)
    _save(figure, path)


def _load_pyplot() -> Any:
    import matplotlib

    matplotlib.use("svg")
    # The same results make the same file.
    matplotlib.rcParams["svg.hashsalt"] = "autobatch"
    import matplotlib.pyplot as plt

    return plt


def _save(figure: Any, path: Path) -> None:
    figure.tight_layout()
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")

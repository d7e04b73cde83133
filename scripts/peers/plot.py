"""Plots of the benchmark. Draws raw results; runs nothing."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.peers.table import OURS, find_fastest_peers, score_all, search_ratio


def plot_finders(document: Mapping[str, Any], path: Path) -> None:
    """Throughput at the answer against search time, a point for each finder and workload.

    Search time is over the fastest peer's on that workload; the large mark is a finder's median.
    """
    plt = _load_pyplot()
    figure, axes = plt.subplots(figsize=(8, 4.5))
    scores = score_all(document)
    peers = find_fastest_peers(scores)
    for finder in dict.fromkeys(score.finder for score in scores):
        points = [
            (ratio, statistics.median(score.throughput_ratios))
            for score in scores
            if score.finder == finder
            and score.throughput_ratios
            and (ratio := search_ratio(score, peers)) is not None
        ]
        if not points:
            continue
        marker = "o" if finder in OURS else "x"
        columns = tuple(zip(*points, strict=True))
        dots = axes.scatter(*columns, marker=marker, s=16, alpha=0.5)
        axes.scatter(
            *map(statistics.median, columns),
            marker=marker, s=120, color=dots.get_facecolor()[0][:3], label=finder,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("search time / fastest peer that searches")
    axes.set_ylabel("throughput at the answer / best")
    axes.set_ylim(-0.05, 1.2)
    axes.axhline(0.95, linewidth=0.5, color="grey")
    axes.legend(fontsize=7, loc="center left", markerscale=0.5, bbox_to_anchor=(1.0, 0.5))
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
    figure.savefig(path, metadata={"Date": None})

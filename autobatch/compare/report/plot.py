"""A comparison as a picture: loss against epochs, iterations and seconds, one line per size."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from itertools import groupby
from statistics import fmean
from typing import TYPE_CHECKING, Any

from autobatch import units
from autobatch.compare.records import Comparison, RunOutcome, TrainingRun
from autobatch.records import Regime
from autobatch.reporting.axes import GREY, PALETTE, plain_number
from autobatch.reporting.plot import new_figure, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from autobatch.reporting.figure import NotebookFigure

# Full batch is black, whatever the order of the sizes.
_FULL_BATCH_COLOR = "#000000"
_MANY_FOLD = 8
# Pieces that a run is smoothed over: enough to show its course, few enough to take the noise off.
_NUM_PIECES = 40
# Longest time on the axis over the shortest.
_TIME_RANGE = 1000


def save_comparison_plot(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Save a comparison as a png, svg or pdf file, replacing an existing one.

    Args:
        comparison: What to plot.
        path: The file; its suffix chooses the format.

    Raises:
        SettingsError: If it cannot be drawn or written.
    """
    write_figure(draw_comparison(comparison), path)


def draw_comparison(comparison: Comparison) -> NotebookFigure:
    """Draw a comparison.

    Against epochs the loss of each epoch is drawn, on the samples held out where there are any;
    against iterations and seconds the loss of every iteration that was kept, thin, so that the
    oscillation of small batches is seen, and its smoothed course above it.

    Raises:
        SettingsError: If matplotlib is not installed.
    """
    drawn = [run for run in comparison.runs if run.epochs]
    figure = new_figure(f"{comparison.target} on {comparison.device}", width=14.0)
    epochs, iterations, seconds = figure.subplots(1, 3, sharey=True)
    for index, run in enumerate(drawn):
        is_full, is_chosen = (
            run.regime is Regime.FULL_BATCH,
            run.batch_size == comparison.batch_size,
        )
        style = {
            "color": _FULL_BATCH_COLOR if is_full else PALETTE[index % len(PALETTE)],
            "linestyle": "--" if run.outcome is RunOutcome.DIVERGED else "-",
            "linewidth": 2.6 if is_chosen else 1.4,
            "zorder": 4 if is_chosen else 3,
        }
        label = f"{_label(run)}, chosen" if is_chosen else _label(run)
        _draw_epochs(epochs, run, label, style)
        for axes, positions in ((iterations, run.iterations), (seconds, _times_of(run))):
            _draw_course(axes, positions, run.losses, style)
    held_out = any(run.epochs[-1].validation_loss is not None for run in drawn)
    epochs.set_ylabel("loss", labelpad=8)
    epochs.set_title(f"each epoch, {'held-out' if held_out else 'training'} loss", fontsize=10)
    for axes in (iterations, seconds):
        axes.set_title("training loss: each iteration, and smoothed", fontsize=10)
    for axes, label in ((epochs, "epochs"), (iterations, "iterations"), (seconds, "seconds")):
        _dress(axes, label)
    if drawn:
        _set_scales(figure.axes, drawn)
        figure.legend(loc="outside lower center", ncols=min(6, len(drawn)), frameon=False)
    if comparison.asked.target_loss is not None:
        _draw_target(figure.axes, comparison.asked.target_loss)
    return figure


def _draw_epochs(axes: Axes, run: TrainingRun, label: str, style: dict[str, Any]) -> None:
    losses = [epoch.loss for epoch in run.epochs]
    marker = "o" if len(losses) <= 20 else ""
    numbers = range(1, len(losses) + 1)
    axes.plot(numbers, losses, marker=marker, markersize=3.5, label=label, **style)


def _draw_course(
    axes: Axes, positions: Sequence[float], losses: Sequence[float], style: dict[str, Any]
) -> None:
    axes.plot(positions, losses, **{**style, "linewidth": 0.6, "alpha": 0.3, "zorder": 2})
    axes.plot(*_smooth(positions, losses), **style)


def _smooth(positions: Sequence[float], losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """Mean losses over pieces that are equally long on a logarithmic axis, and where they are."""
    if len(positions) < 2 or positions[-1] <= positions[0]:
        return [*positions], [*losses]
    length = math.log(positions[-1] / positions[0]) / _NUM_PIECES

    def piece_of(point: tuple[float, float]) -> int:
        return min(_NUM_PIECES - 1, int(math.log(point[0] / positions[0]) / length))

    pieces = [[*group] for _, group in groupby(zip(positions, losses, strict=True), piece_of)]
    return (
        [fmean(at for at, _ in piece) for piece in pieces],
        [fmean(loss for _, loss in piece) for piece in pieces],
    )


def _draw_target(panels: Sequence[Axes], loss: float) -> None:
    for axes in panels:
        axes.axhline(loss, color=GREY, linestyle="--", linewidth=1, zorder=1)
    panels[0].annotate(
        f"target loss {loss:g}",
        (1, loss),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=GREY,
        fontsize=9,
    )


def _label(run: TrainingRun) -> str:
    size = units.format_count(run.batch_size)
    name = f"full batch ({size})" if run.regime is Regime.FULL_BATCH else size
    return name if run.outcome is RunOutcome.FINISHED else f"{name}, {run.outcome.value}"


def _times_of(run: TrainingRun) -> list[float]:
    """Seconds of training until each iteration whose loss was kept."""
    times: list[float] = []
    ends = iter(run.iterations)
    iteration = next(ends, None)
    first, begin_s = 0, 0.0
    for epoch in run.epochs:
        while iteration is not None and iteration <= first + epoch.num_iterations:
            share = (iteration - first) / epoch.num_iterations
            times.append(begin_s + share * epoch.time_s)
            iteration = next(ends, None)
        first += epoch.num_iterations
        begin_s += epoch.time_s
    # Of a run that diverged, what came after its last whole epoch.
    return times + [begin_s] * (len(run.losses) - len(times))


def _dress(axes: Axes, label: str) -> None:
    axes.set_xlabel(label)
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _set_scales(panels: Sequence[Axes], runs: Sequence[TrainingRun]) -> None:
    from matplotlib.ticker import MaxNLocator, NullFormatter

    epochs, *courses = panels
    epochs.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in courses:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(plain_number)
        axes.xaxis.set_minor_formatter(NullFormatter())
    # The first iterations of the quickest run would take up most of a logarithmic axis.
    courses[1].set_xlim(left=max(run.time_s for run in runs) / _TIME_RANGE)
    # One run that rises without end would press all others flat, and so would single samples.
    sound = [run for run in runs if run.outcome is not RunOutcome.DIVERGED] or runs
    losses = [loss for run in sound for loss in _smooth(run.iterations, run.losses)[1]]
    losses += [epoch.loss for run in sound for epoch in run.epochs]
    low, high = min(losses), max(losses)
    if low > 0 and high > _MANY_FOLD * low:
        epochs.set_yscale("log")
        epochs.yaxis.set_major_formatter(plain_number)
        epochs.yaxis.set_minor_formatter(NullFormatter())
        epochs.set_ylim(low / 1.5, high * 1.5)
    elif high > low:
        margin = 0.1 * (high - low)
        epochs.set_ylim(low - margin, high + margin)

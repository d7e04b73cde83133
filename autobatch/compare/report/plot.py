"""A comparison as a picture: loss against epochs, iterations and seconds, one line per size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from autobatch import units
from autobatch.compare.records import Comparison, RunOutcome, TrainingRun
from autobatch.records import Regime
from autobatch.reporting.axes import plain_number
from autobatch.reporting.plot import new_figure, write_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# From Okabe and Ito's set; full batch is black, whatever the order of the sizes.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")
_FULL_BATCH_COLOR = "#000000"
_MANY_FOLD = 8
_RARE = 50


def save_comparison_plot(comparison: Comparison, path: str | os.PathLike[str]) -> None:
    """Save a comparison as a png, svg or pdf file, replacing an existing one.

    Args:
        comparison: What to plot.
        path: The file; its suffix chooses the format.

    Raises:
        SettingsError: If it cannot be drawn or written.
    """
    write_figure(draw_comparison(comparison), path)


def draw_comparison(comparison: Comparison) -> Figure:
    """A comparison as a matplotlib figure that no global state knows of.

    Against epochs the loss of each epoch is drawn, on the samples held out where there are any;
    against iterations and seconds the loss of every iteration that was kept, so that the
    oscillation of small batches is seen beside the smooth descent of large ones.

    Raises:
        SettingsError: If matplotlib is not installed.
    """
    drawn = [run for run in comparison.runs if run.epochs]
    figure = new_figure(f"{comparison.target} on {comparison.device}", width=14.0)
    epochs, iterations, seconds = figure.subplots(1, 3, sharey=True)
    for index, run in enumerate(drawn):
        is_full = run.regime is Regime.FULL_BATCH
        color = _FULL_BATCH_COLOR if is_full else _COLORS[index % len(_COLORS)]
        style = {"color": color, "linestyle": "--" if run.outcome is RunOutcome.DIVERGED else "-"}
        _draw_epochs(epochs, run, style)
        faint = {**style, "linewidth": 1.6 if is_full else 0.8, "alpha": 1.0 if is_full else 0.75}
        iterations.plot(run.iterations, run.losses, **faint)
        seconds.plot(_times_of(run), run.losses, **faint)
    held_out = any(run.epochs[-1].validation_loss is not None for run in drawn)
    epochs.set_ylabel("loss")
    epochs.set_title(f"each epoch, {'held-out' if held_out else 'training'} loss", fontsize=10)
    iterations.set_title("each iteration, training loss", fontsize=10)
    seconds.set_title("each iteration, training loss", fontsize=10)
    for axes, label in ((epochs, "epochs"), (iterations, "iterations"), (seconds, "seconds")):
        _dress(axes, label)
    if drawn:
        _set_scales(epochs, iterations, drawn)
        figure.legend(loc="outside lower center", ncols=min(6, len(drawn)), frameon=False)
    if comparison.asked.target_loss is not None:
        for axes in (epochs, iterations, seconds):
            axes.axhline(comparison.asked.target_loss, color="#666666", linestyle="--", linewidth=1)
    return figure


def _draw_epochs(axes: Axes, run: TrainingRun, style: dict[str, str]) -> None:
    losses = [epoch.loss for epoch in run.epochs]
    marker = "o" if len(losses) <= 20 else ""
    numbers = range(1, len(losses) + 1)
    axes.plot(numbers, losses, marker=marker, markersize=3, label=_label(run), **style)  # type: ignore[arg-type]


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


def _set_scales(epochs: Axes, iterations: Axes, runs: Sequence[TrainingRun]) -> None:
    from matplotlib.ticker import MaxNLocator, NullFormatter

    epochs.xaxis.set_major_locator(MaxNLocator(integer=True))
    counts = [run.iterations[-1] for run in runs if run.iterations]
    if counts and max(counts) > _MANY_FOLD * min(counts):
        iterations.set_xscale("log")
        iterations.xaxis.set_major_formatter(plain_number)
    # One run that rises without end would press all others flat.
    sound = [run for run in runs if run.outcome is not RunOutcome.DIVERGED] or runs
    losses = [loss for run in sound for loss in run.losses]
    low, high = min(losses, default=0.0), max(losses, default=1.0)
    if low > 0 and high > _MANY_FOLD * low:
        low = min(map(_floor, sound))
        epochs.set_yscale("log")
        epochs.yaxis.set_major_formatter(plain_number)
        epochs.yaxis.set_minor_formatter(NullFormatter())
        epochs.set_ylim(low / 1.3, high * 1.3)
    elif high > low:
        margin = 0.05 * (high - low)
        epochs.set_ylim(low - margin, high + margin)


def _floor(run: TrainingRun) -> float:
    """Where a logarithmic axis may end: above the single samples whose loss is next to none."""
    ranked = sorted(run.losses) or [epoch.loss for epoch in run.epochs]
    of_epochs = (min(epoch.train_loss, epoch.loss) for epoch in run.epochs)
    return min([ranked[len(ranked) // _RARE], *of_epochs])

"""A finding as a picture: throughput and peak memory against batch size, side by side."""

from __future__ import annotations

import importlib.util
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobatch.errors import SettingsError
from autobatch.records import Finding
from autobatch.reporting.files import check_writable, write_atomically
from autobatch.reporting.memory_panel import draw_memory
from autobatch.reporting.screen import printable
from autobatch.reporting.throughput_panel import draw_throughput

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from autobatch.reporting.figure import NotebookFigure

_SUFFIXES = (".png", ".svg", ".pdf")
# A date in the file would make two plots of one finding differ.
_METADATA: dict[str, dict[str, Any]] = {
    ".png": {},
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
}
_MAX_TITLE = 100


def check_plot_path(path: str | os.PathLike[str]) -> None:
    """Find out whether a plot can be drawn and written, before a long search.

    Raises:
        SettingsError: If the suffix is none of png, svg and pdf, the file cannot be written,
            or matplotlib is not installed.
    """
    if Path(path).suffix.lower() not in _SUFFIXES:
        raise SettingsError(
            f"cannot draw {path}: a plot is a .png, .svg or .pdf file",
            hint=f"write it to {Path(path).stem or 'plot'}.png",
        )
    check_writable(path, overwrite=True)
    if importlib.util.find_spec("matplotlib") is None:
        raise _no_matplotlib()


def check_outputs(
    *paths: str | None, plot_path: str | None = None, overwrite: bool = False
) -> None:
    """Find out whether results can be written, before what takes long rather than after it.

    Args:
        paths: Files to be written; ``None`` for one that was not asked for.
        plot_path: A picture to be drawn.
        overwrite: Whether files that are there already may be replaced.

    Raises:
        SettingsError: If one of them could not be written.
    """
    if plot_path is not None:
        check_plot_path(plot_path)
    for path in filter(None, (*paths, plot_path)):
        check_writable(path, overwrite)


def save_plot(finding: Finding, path: str | os.PathLike[str]) -> None:
    """Draw a finding into a png, svg or pdf file, replacing one that is there.

    Args:
        finding: What to draw.
        path: Where to; the suffix says the format.

    Raises:
        SettingsError: If it cannot be drawn or written.
    """
    write_figure(draw(finding), path)


def write_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure into a png, svg or pdf file, replacing an existing one.

    Args:
        figure: The figure.
        path: The file; its suffix chooses the format.

    Raises:
        SettingsError: If it cannot be written.
    """
    check_plot_path(path)
    suffix = Path(path).suffix.lower()
    picture = io.BytesIO()
    figure.savefig(picture, format=suffix[1:], dpi=200, metadata=_METADATA[suffix])
    write_atomically(path, picture.getvalue())


def draw(finding: Finding) -> NotebookFigure:
    """Draw a finding.

    Raises:
        SettingsError: If matplotlib is not installed.
    """
    figure = new_figure(f"{finding.target} on {finding.device}", width=10.5)
    throughput, memory = figure.subplots(1, 2)
    # One axis for both panels, so that a size stands at the same place.
    sizes = [trial.batch_size for trial in finding.trials]
    sizes.append(finding.recommendation.largest_batch_size)
    draw_throughput(throughput, finding, sizes)
    draw_memory(memory, finding, sizes)
    return figure


def new_figure(title: str, *, width: float) -> NotebookFigure:
    """Make an empty figure.

    Args:
        title: Its title.
        width: Width in inches.

    Raises:
        SettingsError: If matplotlib is not installed.
    """
    try:
        from autobatch.reporting.figure import NotebookFigure
    except ImportError as error:
        raise _no_matplotlib() from error
    figure = NotebookFigure(figsize=(width, 4.8), layout="constrained")
    title = printable(title)
    if len(title) > _MAX_TITLE:
        title = f"...{title[3 - _MAX_TITLE :]}"
    # A dollar sign in a file name begins no formula.
    figure.suptitle(title, fontsize=11, parse_math=False)
    return figure


def _no_matplotlib() -> SettingsError:
    return SettingsError(
        "a plot needs matplotlib, which is not installed",
        hint="pip install 'torch-autobatch[plot]'",
    )

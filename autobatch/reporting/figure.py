"""A matplotlib figure that a notebook shows. Importing this module loads matplotlib."""

from __future__ import annotations

import io
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Twice that of the screens that notebooks are made for, so that text is sharp on others too.
_NOTEBOOK_DPI = 144


class NotebookFigure(Figure):
    """A figure that no global state knows of, and that is a picture as the last line of a cell.

    Args:
        **options: Those of a matplotlib figure.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        FigureCanvasAgg(self)

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """The picture, with the width that it is to be shown at, in pixels."""
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=_NOTEBOOK_DPI)
        return picture.getvalue(), {"width": round(self.get_figwidth() * _NOTEBOOK_DPI / 2)}

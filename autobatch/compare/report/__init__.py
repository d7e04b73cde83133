"""What a comparison looks like to a person and to a machine."""

from autobatch.compare.report.document import (
    COMPARISON_VERSION,
    comparison_document,
    dumps_comparison,
    holds_comparison,
    load_comparison,
    save_comparison,
)
from autobatch.compare.report.plot import save_comparison_plot
from autobatch.compare.report.progress import CompareBars, CompareLines
from autobatch.compare.report.text import render_comparison

__all__ = [
    "COMPARISON_VERSION",
    "CompareBars",
    "CompareLines",
    "comparison_document",
    "dumps_comparison",
    "holds_comparison",
    "load_comparison",
    "render_comparison",
    "save_comparison",
    "save_comparison_plot",
]

"""What a comparison looks like to a person and to a machine."""

from autobatch.compare.report.document import COMPARISON
from autobatch.compare.report.plot import save_comparison_plot
from autobatch.compare.report.progress import CompareLines
from autobatch.compare.report.text import render_comparison

__all__ = [
    "COMPARISON",
    "CompareLines",
    "render_comparison",
    "save_comparison_plot",
]

"""A tuning as text, as a picture and as a document."""

from autobatch.tuning.report.document import TUNING
from autobatch.tuning.report.plot import save_tuning_plot
from autobatch.tuning.report.text import render_tuning

__all__ = ["TUNING", "render_tuning", "save_tuning_plot"]

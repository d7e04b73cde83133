"""What a check looks like to a person and to a machine."""

from autobatch.check.report.document import BASELINE, CHECK, PREDICTED_BASELINE
from autobatch.check.report.junit import dumps_junit
from autobatch.check.report.progress import CheckLines
from autobatch.check.report.text import render_check

__all__ = [
    "BASELINE",
    "CHECK",
    "PREDICTED_BASELINE",
    "CheckLines",
    "dumps_junit",
    "render_check",
]

"""What a check looks like to a person and to a machine."""

from autobatch.check.report.baseline import load_baseline, save_baseline
from autobatch.check.report.document import dumps_check
from autobatch.check.report.junit import dumps_junit
from autobatch.check.report.markdown import append_markdown
from autobatch.check.report.progress import CheckLines
from autobatch.check.report.text import render_check

__all__ = [
    "CheckLines",
    "append_markdown",
    "dumps_check",
    "dumps_junit",
    "load_baseline",
    "render_check",
    "save_baseline",
]

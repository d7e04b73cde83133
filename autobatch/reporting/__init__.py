"""Records in; text, JSON or a picture out.

    finding --> document   JSON, and back
            --> text       the answer on stdout
            --> plot       two panels, png svg or pdf
    events  --> progress   what goes on meanwhile, on stderr
    devices --> device_document, device_text
    check   --> check_text, check_document, junit, markdown
            --> baseline   what was measured, as JSON, and back
    comparison --> comparison_document, comparison_text, comparison_plot, comparison_progress

Nothing here measures, decides or loads torch; matplotlib is loaded by ``plot`` when it draws.
"""

from autobatch.reporting.baseline import load_baseline, save_baseline
from autobatch.reporting.check_document import dumps_check
from autobatch.reporting.check_progress import CheckLines
from autobatch.reporting.check_text import render_check
from autobatch.reporting.comparison_document import (
    COMPARISON_VERSION,
    comparison_document,
    dumps_comparison,
    holds_comparison,
    load_comparison,
    save_comparison,
)
from autobatch.reporting.comparison_plot import save_comparison_plot
from autobatch.reporting.comparison_progress import CompareBars, CompareLines
from autobatch.reporting.comparison_text import render_comparison
from autobatch.reporting.device_document import (
    DEVICES_SCHEMA_VERSION,
    devices_document,
    dumps_devices,
)
from autobatch.reporting.device_text import render_devices
from autobatch.reporting.document import (
    SCHEMA_VERSION,
    dumps,
    from_document,
    load,
    save,
    to_document,
)
from autobatch.reporting.files import check_writable, write_atomically
from autobatch.reporting.junit import dumps_junit
from autobatch.reporting.markdown import append_markdown
from autobatch.reporting.partial import save_partial
from autobatch.reporting.plot import check_plot_path, save_plot
from autobatch.reporting.progress import LineProgress, LiveProgress
from autobatch.reporting.text import render, render_error
from autobatch.reporting.warnings import FIGURES, Advice, advise

__all__ = [
    "COMPARISON_VERSION",
    "DEVICES_SCHEMA_VERSION",
    "FIGURES",
    "SCHEMA_VERSION",
    "Advice",
    "CheckLines",
    "CompareBars",
    "CompareLines",
    "LineProgress",
    "LiveProgress",
    "advise",
    "append_markdown",
    "check_plot_path",
    "check_writable",
    "comparison_document",
    "devices_document",
    "dumps",
    "dumps_check",
    "dumps_comparison",
    "dumps_devices",
    "dumps_junit",
    "from_document",
    "holds_comparison",
    "load",
    "load_baseline",
    "load_comparison",
    "render",
    "render_check",
    "render_comparison",
    "render_devices",
    "render_error",
    "save",
    "save_baseline",
    "save_comparison",
    "save_comparison_plot",
    "save_partial",
    "save_plot",
    "to_document",
    "write_atomically",
]

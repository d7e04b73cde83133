"""Records in; text, JSON or a picture out.

    finding --> document   JSON, and back, by way of codec
            --> text       the answer on stdout
            --> plot       two panels, png svg or pdf
            --> html       what a notebook shows, and a page of its own
    events  --> progress   what goes on meanwhile, on stderr, by way of activity
    devices --> device_document, device_text

Nothing here measures, decides or loads torch; matplotlib is loaded by ``plot`` when it draws.
"""

from autobatch.reporting.device_document import DEVICES
from autobatch.reporting.device_text import render_devices
from autobatch.reporting.document import (
    SCHEMA_VERSION,
    dumps,
    from_document,
    load,
    save,
    save_partial,
    to_document,
)
from autobatch.reporting.files import check_writable, write_atomically
from autobatch.reporting.html import save_html
from autobatch.reporting.plot import check_outputs, save_plot
from autobatch.reporting.progress import LineProgress, LiveProgress
from autobatch.reporting.text import render, render_error
from autobatch.reporting.warnings import FIGURES, Advice, advise

__all__ = [
    "DEVICES",
    "FIGURES",
    "SCHEMA_VERSION",
    "Advice",
    "LineProgress",
    "LiveProgress",
    "advise",
    "check_outputs",
    "check_writable",
    "dumps",
    "from_document",
    "load",
    "render",
    "render_devices",
    "render_error",
    "save",
    "save_html",
    "save_partial",
    "save_plot",
    "to_document",
    "write_atomically",
]

"""A check as text: a table of requirements, and what else to know."""

from __future__ import annotations

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from autobatch.check.records import CheckReport
from autobatch.check.report.wording import (
    STATUSES,
    figure_text,
    last_lines,
    limit_text,
)
from autobatch.records import Status
from autobatch.reporting.screen import show
from autobatch.reporting.tables import Column, fitting_table

_STYLES = {Status.MET: "green", Status.NOT_MET: "bold red", Status.INCONCLUSIVE: "yellow"}


def render_check(report: CheckReport, console: Console) -> None:
    """Print a check, for a person to read.

    Args:
        report: What to print.
        console: Where to; its width, colours and encoding are respected.
    """
    show(console, _headline(report), "", _table(report, console.width))
    reasons = [f"{each.name}: {each.reason}" for each in report.verdicts if each.reason]
    if reasons:
        show(console, "", *(Padding(Text(line), (0, 0, 0, 2)) for line in reasons))
    show(console, "", *map(Text, last_lines(report)))


def _headline(report: CheckReport) -> Text:
    devices = ", ".join(report.devices)
    if report.target is None:
        return Text(devices or "no device", style="bold")
    size, measurement = "", report.measurement
    checked = measurement or report.prediction
    if checked is not None:
        size = f" at batch size {checked.batch_size:,}"
    if measurement is not None and measurement.num_ranks > 1:
        size += f" on each of {measurement.num_ranks} processes ({measurement.parallel})"
    where = f" on {devices}" if devices else ""
    return Text.assemble((report.target, "bold"), f"{size}{where}")


def _table(report: CheckReport, width: int) -> Table:
    verdicts = report.verdicts
    figures = "measured" if report.prediction is None else "predicted"
    columns = (
        Column("requirement", tuple(each.name for each in verdicts), is_words=True),
        Column("limit", tuple(map(limit_text, verdicts))),
        Column(figures, tuple(map(figure_text, verdicts))),
        Column(
            "verdict",
            tuple(STATUSES[each.status] for each in verdicts),
            is_words=True,
            styles=tuple(_STYLES[each.status] for each in verdicts),
        ),
    )
    return fitting_table(columns, width=width, dropped=("limit", figures))

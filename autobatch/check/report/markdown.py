"""A check as Markdown, for the summary page of a CI run."""

from __future__ import annotations

import os

from autobatch.check.records import CheckReport
from autobatch.check.report.wording import (
    STATUSES,
    figure_text,
    last_lines,
    limit_text,
)
from autobatch.errors import SettingsError
from autobatch.records import Status
from autobatch.reporting.screen import printable

_MARKS = {Status.MET: "✅", Status.NOT_MET: "❌", Status.INCONCLUSIVE: "❔"}


def markdown(report: CheckReport) -> str:
    """A check as a heading, a table and what else to know."""
    about = report.target or "hardware"
    lines = [
        f"### autobatch check: {_plain(about)}",
        "",
        _plain(", ".join(report.devices)),
        "",
        "| requirement | limit | measured | verdict |",
        "|---|---:|---:|---|",
    ]
    for each in report.verdicts:
        verdict = f"{_MARKS[each.status]} {STATUSES[each.status]}"
        cells = (each.name, limit_text(each), figure_text(each), verdict)
        lines.append(f"| {' | '.join(map(_plain, cells))} |")
    reasons = [f"- {each.name}: {each.reason}" for each in report.verdicts if each.reason]
    paragraphs = [line for text in last_lines(report) for line in (_plain(text), "")]
    return "\n".join([*lines, "", *map(_plain, reasons), "", *paragraphs])


def append_markdown(report: CheckReport, path: str | os.PathLike[str]) -> None:
    """Append a check to a file.

    Args:
        report: The check.
        path: The file, made if it does not exist.

    Raises:
        SettingsError: If it cannot be written.
    """
    try:
        with open(path, "a", encoding="utf-8") as stream:
            stream.write(markdown(report) + "\n")
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise SettingsError(
            f"cannot write {path}: {reason}", hint="write to another path"
        ) from error


def _plain(text: str) -> str:
    return printable(text).replace("\n", " ").replace("|", "\\|").replace("<", "&lt;")

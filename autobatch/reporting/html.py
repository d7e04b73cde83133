"""A finding as HTML: verdict, table, picture, warnings, and the report to unfold.

A notebook shows it as it is; a page of its own adds a title and a style, and needs no other file.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from html import escape

from autobatch import units
from autobatch.errors import SettingsError
from autobatch.records import Finding
from autobatch.reporting.files import write_atomically
from autobatch.reporting.plot import draw
from autobatch.reporting.screen import as_text
from autobatch.reporting.tables import Column, fit_columns
from autobatch.reporting.text import describe_sizes, render
from autobatch.reporting.verdict import find_verdict
from autobatch.reporting.warnings import advise

# A notebook scrolls what is too wide, so that all columns can be shown.
_WIDE = 200
_REPORT_WIDTH = 100
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto }}
body {{ padding: 0 1rem }}
table {{ border-collapse: collapse; display: block; overflow-x: auto; margin: 1rem 0 }}
th, td {{ padding: .2rem .6rem; text-align: right; white-space: nowrap }}
tr + tr {{ border-top: 1px solid #8884 }}
pre {{ overflow-x: auto; font-size: 13px }}
img {{ background: white }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def to_html(finding: Finding, *, report: str) -> str:
    """A finding as HTML, with a picture where matplotlib is installed.

    Args:
        finding: What to show.
        report: The whole report as text, shown on demand.
    """
    first, *others = map(_prose, find_verdict(finding).lines)
    parts = [
        f"<p>{'<br>'.join([f'<b>{_noun(finding)} {first}</b>', *others])}</p>",
        _table(finding),
        *_picture(finding),
        *_warnings(finding),
        f"<details><summary>Report</summary><pre>{escape(report)}</pre></details>",
    ]
    return "\n".join(parts)


def save_html(finding: Finding, path: str | os.PathLike[str]) -> None:
    """Write a finding as a page of HTML that needs no other file, replacing one that is there.

    Args:
        finding: What to show.
        path: Where to.

    Raises:
        SettingsError: If it cannot be written.
    """
    report = as_text(render, finding, width=_REPORT_WIDTH)
    title = escape(f"{_noun(finding)} for {finding.target}")
    page = _PAGE.format(title=title, body=to_html(finding, report=report))
    write_atomically(path, page.encode("utf-8"))


def _prose(text: str) -> str:
    return units.bind_units(escape(text), "\N{NO-BREAK SPACE}")


def _noun(finding: Finding) -> str:
    return finding.settings.along.noun.capitalize()


def _table(finding: Finding) -> str:
    trials = sorted(finding.trials, key=lambda trial: trial.batch_size)
    budget_bytes, notes = finding.budget.budget_bytes, describe_sizes(finding)
    along = finding.settings.along
    columns = fit_columns(trials, _WIDE, budget_bytes, finding.decision, notes, along)
    rows = ["".join(f"<th>{escape(column.header)}</th>" for column in columns)]
    for index, trial in enumerate(trials):
        is_chosen = trial.batch_size == finding.batch_size
        rows.append("".join(_cell(column, index, is_bold=is_chosen) for column in columns))
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _cell(column: Column, index: int, *, is_bold: bool) -> str:
    text = escape(column.cells[index])
    side = " style='text-align:left'" if column.is_words else ""
    return f"<td{side}>{f'<b>{text}</b>' if is_bold else text}</td>"


def _picture(finding: Finding) -> Iterator[str]:
    try:
        png, size = draw(finding)._repr_png_()
    except SettingsError:  # no matplotlib
        return
    data = base64.b64encode(png).decode("ascii")
    yield (
        f"<img alt='throughput and peak memory against {finding.settings.along.noun}' "
        f"width='{size['width']}' "
        f"style='max-width:100%' src='data:image/png;base64,{data}'>"
    )


def _warnings(finding: Finding) -> Iterator[str]:
    for warning in finding.warnings:
        advice = advise(warning, finding.loading, finding.settings.along)
        title, *sentences = map(_prose, (advice.title, advice.happened, advice.remedy))
        yield f"<p><b>Warning: {title}.</b> {' '.join(sentences)}</p>"

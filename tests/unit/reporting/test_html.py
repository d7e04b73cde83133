"""A finding as a notebook and a browser show it, read as HTML."""

from __future__ import annotations

import builtins
import html
import re

import pytest

from autobatch.records import FindingWarning, Outcome, WarningCode
from autobatch.reporting.html import save_html, to_html


def rows_of(shown):
    """The cells of the table, row by row, without tags."""
    table = re.search(r"<table>(.*)</table>", shown)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", table)
    cells = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in rows]
    return [[html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in row] for row in cells]


def test_the_table_has_every_column_and_every_size(make_finding):
    header, *rows = rows_of(to_html(make_finding(), report=""))
    assert header[:5] == ["batch", "peak", "of budget", "step time", "samples/s"]
    assert [row[0] for row in rows[:3]] == ["1", "2", "4"]
    assert rows[-1][0] == "2,048"
    assert rows[-1][-1] == "out of memory at +8.0 GiB"
    assert rows[7][-1] == "recommended"


def test_only_the_recommended_row_is_bold(make_finding):
    table = re.search(r"<table>(.*)</table>", to_html(make_finding(), report=""))[1]
    (bold,) = [row for row in re.findall(r"<tr>(.*?)</tr>", table) if "<b>" in row]
    assert bold.startswith("<td><b>128</b></td>")


def test_warnings_are_sentences_with_their_figures(make_finding):
    figures = {"iterations_per_epoch": 2.0, "global_batch_size": 512.0}
    warning = FindingWarning(code=WarningCode.FEW_UPDATES, figures=figures)
    shown = to_html(make_finding(warnings=(warning,)), report="")
    assert "<b>Warning: an epoch has few updates.</b> With 512 samples per update" in shown
    assert "few_updates" not in shown


def test_a_figure_keeps_its_unit_where_a_browser_breaks_lines(make_finding):
    verdict = to_html(make_finding(), report="").partition("<table>")[0]
    assert "an epoch is 469 iterations, 21.4\N{NO-BREAK SPACE}s" in verdict


def test_what_the_user_named_is_shown_as_it_is_and_never_as_markup(make_finding, make_trial):
    name = "<script>alert('&')</script>.py"
    trials = (make_trial(32), make_trial(64, Outcome.KILLED))
    shown = to_html(make_finding(trials, target=name), report=f"{name} on cpu")
    assert "<script>" not in shown
    assert html.escape(name) in shown


def test_without_matplotlib_there_is_all_but_the_picture(make_finding, monkeypatch):
    load = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name.startswith(("matplotlib", "autobatch.reporting.figure")):
            raise ImportError(name)
        return load(name, *arguments, **keywords)

    assert "<img" in to_html(make_finding(), report="")
    monkeypatch.setattr(builtins, "__import__", refuse)
    shown = to_html(make_finding(), report="the report")
    assert "<img" not in shown
    assert "the report" in shown
    assert "<b>Batch size 128" in shown


@pytest.mark.parametrize("text", ["a & b", "1 < 2"])
def test_the_report_is_unfolded_as_it_was_printed(make_finding, text):
    shown = to_html(make_finding(), report=text)
    assert html.unescape(re.search(r"<pre>(.*)</pre>", shown)[1]) == text


def test_a_page_of_its_own_needs_no_other_file_and_escapes_what_the_user_named(
    make_finding, tmp_path
):
    save_html(make_finding(target="<b>.py"), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "<title>Batch size for &lt;b&gt;.py</title>" in page
    assert rows_of(page)[-1][-1] == "out of memory at +8.0 GiB"
    assert "In detail" in page, "the whole report"
    assert not re.findall(r"(?:src|href)=['\"](?!data:)", page)

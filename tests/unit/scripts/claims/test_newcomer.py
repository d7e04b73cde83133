"""Files as people have them: how what came of one is judged, and that the judge can say no."""

from __future__ import annotations

import ast
from dataclasses import replace

import pytest

from scripts.claims.newcomer import Met, judge
from scripts.claims.newcomer_files import NEWCOMER_FILES, NewcomerFile

ANSWERED = NewcomerFile(code="", assumes=("net is the model",))
REFUSED = NewcomerFile(code="", hint="add the line: dataset = data")
ANSWER = Met(status=0, stderr="", batch_size=8, assumed=("net is the model, as the only one",))
ERROR = Met(status=2, stderr="Error: missing: data\n\nHint: add the line:\ndataset = data\n")
FRAME = '  File "/tmp/x/flat.py", line 3, in <module>\n'


def test_there_are_twenty_files_and_all_of_them_are_python() -> None:
    assert len(NEWCOMER_FILES) == 20
    for file in NEWCOMER_FILES.values():
        ast.parse(file.code)
        assert bool(file.assumes) != bool(file.hint)


def test_an_answer_and_an_error_that_names_the_line_are_met() -> None:
    assert judge("flat", ANSWERED, ANSWER) == ""
    assert judge("flat", REFUSED, ERROR) == ""


@pytest.mark.parametrize(
    ("file", "met", "fault"),
    [
        (ANSWERED, ERROR, "no answer: Error: missing: data"),
        (ANSWERED, replace(ANSWER, assumed=()), "not said to be assumed: net is the model"),
        (ANSWERED, replace(ANSWER, left=("net.pt",)), "it left net.pt behind"),
        (REFUSED, ANSWER, "status 0 and no error"),
        (REFUSED, replace(ERROR, status=1), "status 1 and no error"),
        (REFUSED, replace(ERROR, stderr="Error: no\n\nHint: try again"), "the hint does not name"),
        (REFUSED, replace(ERROR, stderr="Segmentation fault"), "status 2 and no error"),
        (
            REFUSED,
            replace(ERROR, stderr="Traceback (most recent call last):\n" + ERROR.stderr),
            "a traceback without a line of the file",
        ),
        (
            REFUSED,
            replace(ERROR, stderr=ERROR.stderr + "the traceback above shows where"),
            "a traceback is promised and not shown",
        ),
    ],
)
def test_anything_else_is_not_met(file: NewcomerFile, met: Met, fault: str) -> None:
    assert judge("flat", file, met).startswith(fault)


def test_a_traceback_with_a_line_of_the_file_may_be_shown() -> None:
    stderr = "Traceback (most recent call last):\n" + FRAME + ERROR.stderr
    assert judge("flat", REFUSED, replace(ERROR, stderr=stderr)) == ""
    assert judge("other", REFUSED, replace(ERROR, stderr=stderr)) != ""

"""What goes on right now: a line that moves, one that is replaced, or a line for each phase."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from autobatch.reporting.activity import (
    Activity,
    LiveActivity,
    PassingActivity,
    PlainActivity,
    SilentActivity,
)
from autobatch.reporting.screen import PipeConsole


def work(activity: Activity) -> None:
    activity.begin("loading model.py")
    activity.detail("importing PyTorch")
    activity.detail("")
    activity.write("loaded")
    activity.begin("measuring")


def test_elsewhere_each_phase_is_a_line_and_details_are_left_out():
    stream = io.StringIO()
    work(PlainActivity(stream))
    assert stream.getvalue() == "loading model.py\nloaded\nmeasuring\n"


def replayed(written: str) -> list[str]:
    """What a screen shows after each carriage return."""
    shown, screens = "", []
    for part in written.split("\r"):
        shown = part + shown[len(part) :]
        screens.append(shown.rstrip())
    return screens


def test_in_a_notebook_each_line_replaces_the_one_before_and_none_is_left():
    stream = io.StringIO()
    with PassingActivity(stream) as activity:
        work(activity)
    assert "\n" not in stream.getvalue()
    assert replayed(stream.getvalue())[1:] == [
        "loading model.py",
        "loading model.py: importing PyTorch",
        "loading model.py",
        "loaded",
        "measuring",
        "",
        "",
    ]


def test_a_line_that_moves_says_for_how_long_and_leaves_what_was_written():
    stream, now_s = io.StringIO(), [0.0]
    console = Console(file=stream, force_terminal=True, width=80, legacy_windows=False)
    with LiveActivity(console, clock=lambda: now_s[0]) as activity:
        now_s[0] = 0.6
        work(activity)
        now_s[0] = 4.0
        activity.detail("round 7")
        now_s[0] = 6.0
        activity.begin("confirming")
        now_s[0] = 9.0
        activity.refresh()
    shown = stream.getvalue()
    assert "loading model.py: importing PyTorch (1 s)" in shown
    assert "measuring: round 7 (3 s)" in shown, "and no second figure that says the same"
    assert "confirming (3 s; 9 s in all)" in shown
    assert "loaded\n" in shown
    assert shown.endswith("\x1b[2K")


class BrokenStream(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def every_kind(stream: io.StringIO) -> Iterator[Activity]:
    yield SilentActivity()
    yield PlainActivity(stream)
    yield PassingActivity(stream)
    yield LiveActivity(PipeConsole(file=stream, force_terminal=True, legacy_windows=False))


@pytest.mark.parametrize("stream", [BrokenStream(), io.StringIO()], ids=["broken", "closed"])
def test_a_stream_that_fails_does_not_end_the_work(stream):
    if not isinstance(stream, BrokenStream):
        stream.close()
    for activity in every_kind(stream):
        work(activity)

"""What goes on during a search: a line per trial, or a live display that leaves no trace."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from autobatch.records import Contention, Observer, Outcome, Phase, Trial
from autobatch.reporting.activity import LiveActivity, PlainActivity
from autobatch.reporting.progress import LineProgress, LiveProgress


def lines_to(stream: io.StringIO | io.TextIOWrapper) -> LineProgress:
    return LineProgress(PlainActivity(stream))


@contextlib.contextmanager
def live_on(console: Console, **more) -> Iterator[LiveProgress]:
    with LiveActivity(console, **more) as activity:
        yield LiveProgress(activity)


def tell(observer: Observer, finding) -> None:
    """Tell an observer the story of a finding."""
    observer.loaded(finding.workload, finding.budget, finding.device)
    for trial in finding.trials:
        observer.trial_started(trial.batch_size, Phase.SEARCH)
        observer.trial_finished(trial, Phase.SEARCH)
    observer.trial_started(finding.trials[0].batch_size, Phase.TIMING)
    observer.trial_finished(finding.trials[0], Phase.TIMING)


def test_each_trial_is_one_plain_line(make_finding, make_trial):
    stream = io.StringIO()
    trials = (make_trial(64), make_trial(4096, Outcome.OUT_OF_MEMORY, peak_bytes=None))
    tell(lines_to(stream), make_finding(trials))
    assert stream.getvalue().splitlines() == [
        "SmallCNN on cpu, memory budget 4.0 GiB (physical memory)",
        "batch 64: fits, 442 MiB, 24 ms, 2,665 samples/s",
        "batch 4,096: out of memory at +8.0 GiB",
        "batch 64: timed again, 24 ms, 2,665 samples/s",
    ]


CONTENTION = Contention(
    others_busy_cores=1.7,
    num_cores=2,
    num_threads=None,
    variables={"OMP_WAIT_POLICY": "PASSIVE"},
    speedup=40.0,
    batch_size=4,
)


def test_where_sizes_run_again_because_others_are_busy_it_says_why(make_finding, make_trial):
    stream = io.StringIO()
    lines_to(stream).begun_anew(CONTENTION)
    assert stream.getvalue() == (
        "again from the start: others used 1.7 of 2 cores, so timed with OMP_WAIT_POLICY=PASSIVE\n"
    )
    console, live_stream = live_console()
    with live_on(console) as live:
        tell(live, make_finding())
        live_stream.truncate(0)
        live.begun_anew(CONTENTION)
        live.trial_started(1, Phase.SEARCH)
        shown = live_stream.getvalue()
    assert "others used 1.7 of 2 cores, so timed with OMP_WAIT_POLICY=PASSIVE" in shown
    assert "samples/s" not in shown


def test_a_size_that_failed_when_timed_again_says_so(make_trial):
    stream = io.StringIO()
    trial = make_trial(64, Outcome.OVER_BUDGET)
    lines_to(stream).trial_finished(trial, Phase.TIMING)
    assert stream.getvalue() == "batch 64: over budget, 442 MiB\n"


class BrokenStream(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def test_a_search_outlives_the_stream_that_it_reports_to(make_finding):
    closed = io.StringIO()
    closed.close()
    for stream in (BrokenStream(), closed):
        tell(lines_to(stream), make_finding())


def test_a_stream_that_knows_only_ascii_gets_ascii(make_finding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    finding = make_finding()
    lines_to(stream).loaded(finding.workload, finding.budget, "gerät\x1b[31m")
    assert stream.buffer.getvalue().startswith(b"SmallCNN on ger?t, memory")


def live_console(height=40):
    console = Console(
        file=io.StringIO(), force_terminal=True, width=80, height=height, legacy_windows=False
    )
    return console, console.file


def test_a_size_that_raised_is_shown_with_its_error():
    stream = io.StringIO()
    failed = Trial(batch_size=64, outcome=Outcome.FAILED, message="RuntimeError: too large")
    lines_to(stream).trial_finished(failed, Phase.SEARCH)
    assert stream.getvalue() == "batch 64: failed, RuntimeError: too large\n"


def test_the_live_display_shows_trials_and_what_runs(make_finding):
    console, stream = live_console()
    with live_on(console) as progress:
        tell(progress, make_finding())
        progress.trial_started(2048, Phase.SEARCH)
        shown = stream.getvalue()
    assert "batch 2,048: running" in shown
    assert "2,802 samples/s" in shown
    assert "out of memory" in shown
    assert "batch 1: timing again" in shown


def test_the_live_display_says_how_long_it_has_been_at_it(make_finding):
    console, stream = live_console()
    now_s = [0.0]
    with live_on(console, clock=lambda: now_s[0]) as progress:
        progress.loading("model.py")
        progress.doing("importing PyTorch")
        assert "loading model.py: importing PyTorch (1 s)" in stream.getvalue()
        now_s[0] = 7.0
        progress.trial_started(64, Phase.SEARCH)
        now_s[0] = 12.0
        progress.loaded(make_finding().workload, make_finding().budget, "cpu")
        shown = stream.getvalue()
    assert "batch 64: running (5 s; 12 s in all)" in shown


def test_compiling_is_named_in_the_final_run_where_it_takes_long(make_finding):
    workload = replace(make_finding().workload, is_compiled=True)
    console, shown = live_console()
    written = io.StringIO()
    with live_on(console) as live:
        for progress in (live, lines_to(written)):
            progress.loaded(workload, make_finding().budget, "cpu")
            progress.trial_started(64, Phase.SEARCH)
            progress.trial_started(64, Phase.CONFIRMATION)
    assert "batch 64: compiling, then the final run (" in shown.getvalue()
    assert written.getvalue().splitlines()[1:] == ["batch 64: compiling, then the final run"]


def test_the_live_display_is_gone_when_the_search_ends_or_fails(make_finding):
    console, stream = live_console()

    def search():
        with live_on(console) as progress:
            tell(progress, make_finding())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search()
    # Cursor shown again, and the last lines erased.
    assert "\x1b[?25h" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")
    # One console takes one live display at a time, so a second says that the first has ended.
    with live_on(console):
        pass


def test_a_low_terminal_shows_the_newest_sizes_and_the_one_that_runs(make_finding):
    console, stream = live_console(height=8)
    with live_on(console) as progress:
        tell(progress, make_finding())
        stream.truncate(0)
        progress.trial_started(4096, Phase.SEARCH)
        shown = stream.getvalue()
    assert "4,096: running" in shown
    assert "2,048" in shown
    assert "\n    16" not in shown

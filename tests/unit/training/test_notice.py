"""What a search in training code says of itself: to whom, in which words, and when nothing."""

from __future__ import annotations

import io
import logging
import random
import sys
from typing import Any

import pytest

from autobatch.errors import SearchInterrupted
from autobatch.integrations import transformers
from autobatch.records import Confidence, Doubt, Phase
from autobatch.training import TrainingFinding, call, find_batch_size
from autobatch.training.notice import LOGGER, Watched, announce, log

UNSURE = {
    "confidence": Confidence.LOW,
    "doubts": (Doubt.NOISE,),
    "candidates": (32, 64),
    "noise_fraction": 0.3,
}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def found(make_finding: Any) -> Any:
    return lambda **changes: TrainingFinding.of(make_finding(**changes))


def test_what_changes_is_one_line_of_the_log(found: Any, caplog: Any) -> None:
    with caplog.at_level(logging.INFO, logger="autobatch"):
        announce(found(), "recommended", stacklevel=1)
        announce(found(), "BatchSizeTuner set", stacklevel=1, with_rate=False)
        announce(
            found(decision={"your_batch_size": None}, recommendation={
                "gradient_accumulation_steps": 4, "iterations_per_epoch": 1,
            }),
            "tune() set", stacklevel=1,
        )  # fmt: skip
        unchanged = {"learning_rate": 0.1}
        finding = found(decision={"your_batch_size": 128}, recommendation=unchanged)
        announce(finding, "recommended", stacklevel=1)
    assert caplog.messages == [
        "recommended batch size 32 -> 128, learning rate 0.1 -> 0.4, 469 iterations per epoch; "
        "confidence high",
        "BatchSizeTuner set batch size 32 -> 128, 469 iterations per epoch; confidence high",
        "tune() set batch size 128, 4 accumulation steps, learning rate 0.1 -> 0.4, "
        "1 iteration per epoch; confidence high",
        "recommended batch size 128 as before, 469 iterations per epoch; confidence high",
    ]


def test_a_program_without_logging_reads_it_on_standard_error(
    monkeypatch: Any, capsys: Any
) -> None:
    monkeypatch.setattr(LOGGER, "propagate", False)
    log("set batch size 32 -> 64")
    assert capsys.readouterr().err == "autobatch: set batch size 32 -> 64\n"
    monkeypatch.setattr(LOGGER, "level", logging.WARNING)
    log("set batch size 32 -> 64")
    assert capsys.readouterr().err == ""


def test_low_confidence_is_a_warning_at_the_callers_line_and_no_line_of_the_log(
    found: Any, caplog: Any, monkeypatch: Any
) -> None:
    unsure = found(recommendation={"batch_size": 32}, decision=UNSURE)
    monkeypatch.setattr(call, "find_for_objects", lambda *objects, **options: unsure)
    with (
        caplog.at_level(logging.INFO, logger="autobatch"),
        pytest.warns(UserWarning, match="batch size 32: confidence low: timings scatter") as seen,
    ):
        assert find_batch_size(None) is unsure  # type: ignore[arg-type]
    assert seen[0].filename == __file__
    assert caplog.messages == []


def test_an_integration_that_is_unsure_says_that_it_set_nothing(found: Any) -> None:
    with pytest.warns(UserWarning, match="32 or 64 may be best; .*; nothing was set$"):
        announce(
            found(recommendation={"batch_size": 32}, decision=UNSURE),
            "tune() set",
            stacklevel=1,
            unset="; nothing was set",
        )
    assert transformers.announce is announce


def tell(observer: Watched, finding: Any) -> None:
    with observer.shown("SmallCNN (in memory)"):
        observer.loaded(finding.workload, finding.budget, "cpu")
        for trial in finding.trials:
            observer.trial_started(trial.batch_size, Phase.SEARCH)
            observer.trial_finished(trial, Phase.SEARCH)


def test_progress_is_shown_on_a_terminal_and_nowhere_else(found: Any, monkeypatch: Any) -> None:
    for stream, is_shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setattr(LOGGER, "propagate", True)
        tell(Watched(None), found())
        assert ("loading SmallCNN (in memory)" in stream.getvalue()) is is_shown
        assert ("batch 64: running" in stream.getvalue()) is is_shown
        assert (stream.getvalue() == "") is not is_shown


def test_showing_progress_draws_no_random_number_of_the_callers(
    found: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    before = random.getstate()
    tell(Watched(None), found())
    assert random.getstate() == before


def test_trials_reach_the_caller_and_what_it_raises_ends_the_search(found: Any) -> None:
    seen: list[int] = []
    tell(Watched(lambda trial: seen.append(trial.batch_size)), found())
    assert seen[:3] == [1, 2, 4]

    def stop(trial: Any) -> None:
        raise LookupError(trial.batch_size)

    with pytest.raises(LookupError, match="1"):
        tell(Watched(stop), found())


def test_an_interrupted_search_names_the_best_size_and_where_it_is(found: Any) -> None:
    finding = found()
    interrupt = SearchInterrupted(finding)
    assert str(interrupt) == "interrupted: best so far 128, in .finding"
    assert interrupt.finding is finding

"""Which trained size to choose, from runs made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.compare.records import CompareSettings, EpochResult, RunOutcome, TrainingRun
from autobatch.compare.summary import choose_size, summarize


def run(
    batch_size: int,
    losses: list[float],
    *,
    time_s: float = 1.0,
    outcome: RunOutcome = RunOutcome.FINISHED,
    **fields: Any,
) -> TrainingRun:
    epochs = tuple(
        EpochResult(
            num_iterations=10,
            time_s=time_s,
            train_loss=loss / 2,
            validation_loss=loss,
            loss_noise=0.1,
        )
        for loss in losses
    )
    fields = {"is_full_batch": False, "fold": 0, "learning_rate": 0.1, **fields}
    return TrainingRun(batch_size=batch_size, outcome=outcome, epochs=epochs, **fields)


def choose(runs: list[list[TrainingRun]], **asked: Any) -> Any:
    settings = CompareSettings(batch_sizes=tuple(each[0].batch_size for each in runs), **asked)
    summaries = [summarize(each, settings.target_loss) for each in runs]
    return choose_size(summaries, settings)


def test_a_summary_counts_to_the_target() -> None:
    found = summarize([run(32, [0.9, 0.6, 0.4, 0.5], time_s=2.0)], 0.5)
    assert found.loss == 0.5
    assert found.time_s == 8
    assert found.epochs_to_target == 3
    assert found.iterations_to_target == 30
    assert found.seconds_to_target == 6
    missed = summarize([run(32, [0.9, 0.6])], 0.5)
    assert missed.epochs_to_target is None
    assert missed.seconds_to_target is None


def test_folds_are_averaged_with_their_error() -> None:
    found = summarize([run(32, [0.4]), run(32, [0.6]), run(32, [0.5])], 0.55)
    assert found.loss == pytest.approx(0.5)
    assert found.standard_error == pytest.approx(0.1 / 3**0.5)
    assert found.epochs_to_target is None, "one fold did not reach it"


def test_the_worst_outcome_of_the_folds_is_that_of_the_size() -> None:
    runs = [run(32, [0.4]), run(32, [], outcome=RunOutcome.DIVERGED)]
    found = summarize(runs, None)
    assert found.outcome is RunOutcome.DIVERGED
    assert found.loss is None


def test_the_target_is_reached_soonest_in_seconds_not_epochs() -> None:
    quick = run(256, [0.9, 0.7, 0.45], time_s=1.0)
    slow = run(1, [0.4, 0.3, 0.2], time_s=10.0)
    found = choose([[slow], [quick]], target_loss=0.5)
    assert found.batch_size == 256
    assert "soonest, in 3 s" in found.reason


def test_where_none_reaches_the_target_the_loss_decides() -> None:
    found = choose([[run(1, [0.8])], [run(256, [0.9])]], target_loss=0.1)
    assert found.batch_size == 1
    assert found.reason.startswith("no size reaches the target; the lowest loss, 0.8")


def test_of_equal_losses_the_fastest_is_taken() -> None:
    runs = [[run(1, [0.500], time_s=9.0)], [run(32, [0.51], time_s=1.0)], [run(256, [0.7])]]
    found = choose(runs)
    assert found.batch_size == 32
    assert "within 5 % of the lowest loss (1, 32)" in found.reason


def test_with_folds_equal_means_within_one_standard_error() -> None:
    best = [run(1, [0.4], time_s=9.0), run(1, [0.6], time_s=9.0)]  # 0.5 +- 0.1
    near = [run(32, [0.58]), run(32, [0.60])]
    far = [run(256, [0.65], time_s=0.1), run(256, [0.65], time_s=0.1)]
    found = choose([best, near, far], num_folds=2, tolerance_fraction=0.0)
    assert found.batch_size == 32
    assert "one standard error" in found.reason


@pytest.mark.parametrize("outcome", [RunOutcome.DIVERGED, RunOutcome.UNFINISHED])
def test_what_did_not_come_to_its_end_is_not_chosen(outcome: RunOutcome) -> None:
    other = run(8, [0.1], outcome=outcome)
    assert choose([[other], [run(32, [0.9])]]).batch_size == 32
    assert choose([[other]]) is None


def test_a_negative_loss_has_a_margin_too() -> None:
    runs = [[run(1, [-10.0], time_s=9.0)], [run(32, [-9.9])], [run(64, [-5.0], time_s=0.1)]]
    assert choose(runs).batch_size == 32

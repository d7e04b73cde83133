"""Which trained size to choose, from runs made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.compare.choice import choose_size
from autobatch.compare.records import (
    CompareSettings,
    EpochResult,
    RunOutcome,
    TrainingRun,
    epochs_to_loss,
)


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
    fields = {"is_full_batch": False, "learning_rate": 0.1, **fields}
    return TrainingRun(batch_size=batch_size, outcome=outcome, epochs=epochs, **fields)


def choose(*runs: TrainingRun, **asked: Any) -> Any:
    sizes = tuple(each.batch_size for each in runs)
    return choose_size(runs, CompareSettings(batch_sizes=sizes, **asked))


def test_the_epochs_to_a_target_end_where_it_is_reached() -> None:
    trained = run(32, [0.9, 0.6, 0.4, 0.5], time_s=2.0)
    assert trained.time_s == 8
    assert epochs_to_loss(trained.epochs, 0.5) == trained.epochs[:3]
    assert epochs_to_loss(trained.epochs, 0.3) is None
    assert epochs_to_loss(trained.epochs, None) is None


def test_the_target_is_reached_soonest_in_seconds_not_epochs() -> None:
    quick = run(256, [0.9, 0.7, 0.45], time_s=1.0)
    slow = run(1, [0.4, 0.3, 0.2], time_s=10.0)
    found = choose(slow, quick, target_loss=0.5)
    assert found.batch_size == 256
    assert "soonest, in 3 s" in found.reason


def test_where_none_reaches_the_target_the_loss_decides() -> None:
    found = choose(run(1, [0.8]), run(256, [0.9]), target_loss=0.1)
    assert found.batch_size == 1
    assert found.reason == "no size reaches the target; the lowest loss with this seed, 0.8"


def test_of_equal_losses_the_fastest_is_taken() -> None:
    runs = [run(1, [0.500], time_s=9.0), run(32, [0.51], time_s=1.0), run(256, [0.7])]
    found = choose(*runs)
    assert found.batch_size == 32
    assert found.reason.endswith("within 5 % of the lowest loss with this seed (1, 32)")


@pytest.mark.parametrize("target_loss", [None, 0.5])
def test_the_reason_speaks_of_one_seed_and_claims_nothing_of_others(
    target_loss: float | None,
) -> None:
    found = choose(run(1, [0.2]), run(256, [0.9]), target_loss=target_loss)
    assert "with this seed" in found.reason
    assert "no other" not in found.reason


@pytest.mark.parametrize("outcome", [RunOutcome.DIVERGED, RunOutcome.UNFINISHED])
def test_what_did_not_come_to_its_end_is_not_chosen(outcome: RunOutcome) -> None:
    other = run(8, [0.1], outcome=outcome)
    assert choose(other, run(32, [0.9])).batch_size == 32
    assert choose(other) is None


def test_a_negative_loss_has_a_margin_too() -> None:
    runs = [run(1, [-10.0], time_s=9.0), run(32, [-9.9]), run(64, [-5.0], time_s=0.1)]
    assert choose(*runs).batch_size == 32

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fixtures.records import decision_of

from autobatch.recommend.build import recommend
from autobatch.recommend.largest import Largest
from autobatch.records import (
    Bottleneck,
    LearningRateRule,
    Outcome,
    Recommendation,
    Regime,
    Settings,
)


@pytest.fixture
def answer(make_trial, make_workload) -> Callable[..., Recommendation]:
    def build(
        settings: Settings | None = None, batch_size: int = 64, **workload: Any
    ) -> Recommendation:
        trials = (
            make_trial(64, 0.1, peak_bytes=2**28),
            make_trial(128, 0.19, peak_bytes=2**29),
            make_trial(256, outcome=Outcome.OUT_OF_MEMORY),
        )
        return recommend(
            settings=settings or Settings(),
            workload=make_workload(**workload),
            trials=trials,
            batch_size=batch_size,
            largest=Largest(batch_size=128, was_run=True, is_lower_bound=False),
            reason="because",
            decision=decision_of({64: 640.0, 128: 128 / 0.19}),
            throughput_curve=None,
        )

    return build


def test_the_answer_carries_what_was_measured_at_its_size(answer) -> None:
    got = answer(batch_size=128)
    assert (got.batch_size, got.peak_bytes) == (128, 2**29)
    assert got.step_time_s == pytest.approx(0.19)
    assert got.samples_per_s == pytest.approx(128 / 0.19)
    assert (got.knee, got.largest_batch_size, got.largest_was_run) == (64, 128, True)
    assert (got.reason, got.bottleneck) == ("because", Bottleneck.DEVICE)


def test_an_epoch_follows_from_the_size_of_the_data_set(answer) -> None:
    got = answer(dataset_size=1_050)
    assert (got.iterations_per_epoch, got.last_batch_size) == (17, 26)
    assert got.epoch_time_s == pytest.approx(1_050 / 64 * 0.1)
    assert got.regime is Regime.MINI_BATCH


def test_without_a_data_set_size_there_is_no_epoch(answer) -> None:
    got = answer(dataset_size=None)
    assert (got.iterations_per_epoch, got.last_batch_size) == (None, None)
    assert (got.epoch_time_s, got.regime) == (None, None)


def test_settings_go_before_the_workload(answer) -> None:
    settings = Settings(dataset_size=640, learning_rate=0.5, base_batch_size=64)
    got = answer(settings, dataset_size=9_999, base_learning_rate=0.1, base_batch_size=32)
    assert got.iterations_per_epoch == 10
    assert (got.base_learning_rate, got.base_batch_size) == (0.5, 64)
    assert got.learning_rate == 0.5


def test_an_unset_base_batch_size_is_32(answer) -> None:
    got = answer(base_batch_size=None)
    assert got.base_batch_size == 32
    assert got.learning_rate == pytest.approx(0.2)


def test_the_learning_rate_follows_the_global_batch_not_the_pass(answer) -> None:
    got = answer(Settings(num_devices=8), base_batch_size=32)
    assert (got.global_batch_size, got.gradient_accumulation_steps) == (512, 1)
    assert got.learning_rate_multiplier == pytest.approx(16)
    assert got.learning_rate_rule is LearningRateRule.LINEAR


def test_a_global_batch_to_reach_is_made_of_passes_and_devices(answer) -> None:
    got = answer(Settings(global_batch_size=1_024, num_devices=4))
    assert (got.global_batch_size, got.gradient_accumulation_steps) == (1_024, 4)
    assert got.iterations_per_epoch == 24


def test_drop_last_reaches_the_epoch(answer) -> None:
    got = answer(Settings(drop_last=True), dataset_size=1_050)
    assert (got.iterations_per_epoch, got.last_batch_size) == (16, 64)
    assert got.epoch_time_s == pytest.approx(1.6)


def test_a_size_that_never_fitted_is_not_recommended(answer) -> None:
    with pytest.raises(AssertionError, match="256"):
        answer(batch_size=256)


def test_ranks_that_train_with_the_base_size_now_keep_the_rate_at_it(answer) -> None:
    ranks = {"base_batch_size": 64, "base_learning_rate": 0.1, "num_ranks": 4}
    same = answer(Settings(num_devices=4), **ranks)
    assert (same.base_batch_size, same.global_batch_size) == (256, 256)
    assert same.learning_rate == 0.1
    assert answer(Settings(num_devices=4), **{**ranks, "num_ranks": 1}).base_batch_size == 64

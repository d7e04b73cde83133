from __future__ import annotations

import numpy as np
import pytest

from autobatch.decide.knee import epoch_efficiencies, find_knee
from autobatch.decide.rates import Rates
from autobatch.recommend.choice import choose, find_exact_size
from autobatch.records import Goal, Settings


def make_rates(*rates: float, error: float = 0.001) -> Rates:
    sizes = tuple(2**power for power in range(len(rates)))
    return Rates(sizes, np.log(rates), np.eye(len(rates)) * error**2)


def test_the_knee_is_the_smallest_size_within_the_tolerance_of_the_best() -> None:
    rates = make_rates(10, 50, 94, 96, 100)
    assert find_knee(rates, rates, tolerance_fraction=0.05) == 8
    assert find_knee(rates, rates, tolerance_fraction=0.1) == 4
    assert find_knee(rates, rates, tolerance_fraction=0) == 16


def test_the_knee_is_not_past_the_top_of_a_throughput_that_falls() -> None:
    rates = make_rates(10, 50, 100, 70, 40)
    assert find_knee(rates, rates, tolerance_fraction=0.05) == 4


def test_a_size_whose_own_timings_contradict_the_curve_is_not_taken() -> None:
    drawn, measured = make_rates(10, 98, 100), make_rates(10, 80, 100, error=0.01)
    assert find_knee(drawn, measured, tolerance_fraction=0.05) == 4


def test_the_best_size_is_the_knee_where_nothing_else_passes() -> None:
    rates = make_rates(100)
    assert find_knee(rates, rates, tolerance_fraction=0.05) == 1


def test_an_epoch_that_ends_in_a_small_batch_counts_against_a_size(make_trial, make_curve) -> None:
    # 100 samples at 64 take a full pass and one of 36, which the latency makes dear.
    curve = make_curve(latency_s=0.1, per_sample_s=0.001)
    trials = {size: make_trial(size, curve.step_time_s(size)) for size in (50, 64, 100)}
    shares = epoch_efficiencies(trials, curve, dataset_size=100, settings=Settings())
    assert shares[50] == pytest.approx(1)
    assert shares[100] == pytest.approx(1)
    assert shares[64] == pytest.approx((100 / 0.3) / (64 / 0.164))


def test_no_size_is_favoured_without_a_data_set_or_with_drop_last(make_trial) -> None:
    trials = {64: make_trial(64)}
    dropping = Settings(drop_last=True)
    assert epoch_efficiencies(trials, None, dataset_size=None, settings=Settings()) == {}
    assert epoch_efficiencies(trials, None, dataset_size=100, settings=dropping) == {}


def test_the_goal_decides_between_the_knee_and_the_largest() -> None:
    assert choose(Settings(), knee=8, largest_run=64).batch_size == 8
    assert choose(Settings(goal=Goal.MEMORY), knee=8, largest_run=64).batch_size == 64
    assert "5 %" in choose(Settings(), knee=8, largest_run=64).reason


@pytest.mark.parametrize(
    ("global_batch_size", "num_devices", "chosen", "exact"),
    [(None, 1, 64, None), (256, 1, 64, None), (100, 1, 64, 50), (200, 2, 64, 50), (97, 1, 64, 1)],
)
def test_a_size_that_divides_the_global_batch_is_looked_for(
    global_batch_size: int | None, num_devices: int, chosen: int, exact: int | None
) -> None:
    asked = Settings(global_batch_size=global_batch_size, num_devices=num_devices)
    assert find_exact_size(asked, chosen) == exact

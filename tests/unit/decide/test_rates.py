from __future__ import annotations

import math
import random

import pytest

from autobatch.decide.rates import cell_log_error, estimate_rates
from autobatch.records import Outcome, TimingRound, Trial


def make_trial(size: int, medians: dict[int, float], *, spread: float = 0.01) -> Trial:
    """A trial whose rounds have the given median step times, by round number."""
    factors = (1 - spread, 1 - spread / 2, 1.0, 1 + spread / 2, 1 + spread)
    return Trial(
        batch_size=size,
        outcome=Outcome.FITS,
        rounds=tuple(
            TimingRound(
                number=number,
                step_times_s=tuple(center * factor for factor in factors),
                data_times_s=(0.0,) * 5,
            )
            for number, center in medians.items()
        ),
    )


def test_drift_that_all_sizes_share_cancels_in_the_ratio() -> None:
    # The machine is half as fast in round 2: both sizes lose the same.
    trials = {
        8: make_trial(8, {0: 0.010, 1: 0.010, 2: 0.020}),
        16: make_trial(16, {0: 0.019, 1: 0.018, 2: 0.036}),
    }
    log_ratio, error = estimate_rates(trials).log_ratio(16, 8)
    assert log_ratio == pytest.approx(math.log(2 * 10 / 18), abs=0.02)
    assert error < 0.15


def test_timing_in_turn_makes_the_ratio_surer() -> None:
    first = {8: make_trial(8, {0: 0.01}), 16: make_trial(16, {0: 0.02})}
    rounds = dict.fromkeys(range(4), 0.01)
    again = {
        8: make_trial(8, rounds),
        16: make_trial(16, {number: 2 * time for number, time in rounds.items()}),
    }
    assert estimate_rates(again).log_ratio(16, 8)[1] < estimate_rates(first).log_ratio(16, 8)[1]


def test_a_disturbed_cell_does_not_decide() -> None:
    fair = dict.fromkeys(range(5), 0.01)
    trials = {
        8: make_trial(8, fair),
        16: make_trial(16, {**dict.fromkeys(range(5), 0.02), 3: 0.05}),
    }
    assert abs(estimate_rates(trials).log_ratio(16, 8)[0]) < 0.08


def test_the_error_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = random.Random(0)
    hits = 0
    for _ in range(200):
        drifts = [generator.lognormvariate(0, 0.08) for _ in range(4)]
        trials = {}
        for size in (16, 32):
            medians = {
                number: size * 1e-3 * drift * generator.lognormvariate(0, 0.025)
                for number, drift in enumerate(drifts)
            }
            trials[size] = make_trial(size, medians)
        log_ratio, error = estimate_rates(trials).log_ratio(32, 16)
        hits += abs(log_ratio) < 1.96 * error
    assert hits >= 180


def test_scaling_multiplies_rates() -> None:
    rates = estimate_rates({8: make_trial(8, {0: 0.01}), 16: make_trial(16, {0: 0.02})})
    scaled = rates.scaled({16: 0.5})
    assert scaled.log_rate(16) == pytest.approx(rates.log_rate(16) + math.log(0.5))
    assert scaled.log_rate(8) == rates.log_rate(8)
    assert scaled.best() == 8


def test_an_error_is_never_claimed_to_be_nothing() -> None:
    assert cell_log_error([0.01] * 100) > 0
    assert cell_log_error([0.01]) > cell_log_error([0.01] * 5)

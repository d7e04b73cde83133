"""How fast each size is: one mixed model of all timings."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from fixtures.timings import affine, noisy, quiet, timed

from autobatch.decide.numbers import NUMBERS
from autobatch.decide.rates import Rates, Timings, estimate
from autobatch.records import Outcome, TimingRound, Trial

LINE = affine(4e-3, 1e-4, 1024)


def estimated(trials: dict[int, Trial]) -> Timings:
    return estimate(trials, NUMBERS)


def off_the_line(rates: Rates, size: int) -> float:
    return rates.log_rate(size) - math.log(LINE[size])


def test_a_quiet_device_is_believed_after_one_run_of_each_size() -> None:
    timings = estimated(quiet(LINE))
    assert timings.noise_fraction < 0.01
    for size, rate in LINE.items():
        log_ratio, error = timings.rates.log_ratio(size, 1024)
        assert log_ratio == pytest.approx(math.log(rate / LINE[1024]), abs=0.003)
        assert error < 0.015


@pytest.mark.parametrize("noise", [0.01, 0.05, 0.2])
def test_the_noise_of_the_machine_is_learned_from_repeats(noise: float) -> None:
    learned = [
        estimated(noisy(LINE, noise=noise, num_rounds=5, seed=seed)).noise_fraction
        for seed in range(10)
    ]
    assert noise / 1.5 < np.median(learned) < noise * 1.5
    assert noise / 2 < min(learned) <= max(learned) < noise * 2


def test_drift_that_all_sizes_of_a_round_share_cancels_in_the_ratio() -> None:
    # The machine is half as fast in round 2: both sizes lose the same.
    steady = {
        8: timed(8, dict.fromkeys(range(1, 7), 0.010)),
        16: timed(16, dict.fromkeys(range(1, 7), 0.018)),
    }
    drifting = {
        8: timed(8, {**dict.fromkeys(range(1, 7), 0.010), 2: 0.020}),
        16: timed(16, {**dict.fromkeys(range(1, 7), 0.018), 2: 0.036}),
    }
    for trials in (steady, drifting):
        log_ratio, _ = estimated(trials).rates.log_ratio(16, 8)
        assert log_ratio == pytest.approx(math.log(2 * 10 / 18), abs=0.01)


def test_timing_in_turn_makes_the_ratio_surer_than_first_runs_apart() -> None:
    apart = {number: noisy(LINE, noise=0.1, seed=number) for number in range(5)}
    first = np.mean([estimated(each).rates.log_ratio(256, 128)[1] for each in apart.values()])
    in_turn = np.mean(
        [
            estimated(
                noisy(LINE, noise=0.1, num_rounds=8, racing=(128, 256), seed=seed)
            ).rates.log_ratio(256, 128)[1]
            for seed in range(5)
        ]
    )
    assert in_turn < 0.7 * first


def test_one_outlier_moves_nothing() -> None:
    rounds = range(1, 8)
    trials = {size: timed(size, dict.fromkeys(rounds, size / rate)) for size, rate in LINE.items()}
    before = estimated(trials).rates
    trials[64] = timed(64, {**dict.fromkeys(rounds, 64 / LINE[64]), 3: 2.5 * 64 / LINE[64]})
    after = estimated(trials).rates
    assert after.logs == pytest.approx(before.logs, abs=0.02)


@pytest.mark.parametrize("ratio", [0.86, 0.93, 1.1])
def test_a_size_that_is_slow_or_fast_twice_is_that_and_its_neighbours_are_not(
    ratio: float,
) -> None:
    trials = quiet(LINE)
    trials[128] = timed(128, dict.fromkeys(range(2), 128 / (ratio * LINE[128])))
    rates = estimated(trials).rates
    assert off_the_line(rates, 128) == pytest.approx(math.log(ratio), abs=0.02)
    assert off_the_line(rates, 64) == pytest.approx(0.0, abs=0.01)
    assert off_the_line(rates, 256) == pytest.approx(0.0, abs=0.01)


def test_a_size_that_was_slow_once_is_not_known_to_be() -> None:
    timings = estimated(quiet({**LINE, 128: 0.86 * LINE[128]}))
    assert abs(off_the_line(timings.rates, 128)) < 0.03
    assert timings.outlying == {128}


def test_one_slow_run_on_a_noisy_machine_is_drawn_to_the_curve() -> None:
    others = [size for size in LINE if size != 128]
    drawn = []
    for seed in range(10):
        trials = noisy(LINE, noise=0.1, num_rounds=4, racing=others, seed=seed)
        trials[128] = timed(128, {0: 1.2 * 128 / LINE[128]})
        rates = estimated(trials).rates
        level = np.mean([off_the_line(rates, size) for size in (32, 64, 256, 512)])
        drawn.append(off_the_line(rates, 128) - level)
    assert abs(np.mean(drawn)) < math.log(1.2) / 3


def test_the_error_covers_the_truth_about_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(200):
        trials = noisy({16: 1000.0, 32: 1000.0}, noise=0.05, num_rounds=4, seed=seed)
        log_ratio, error = estimated(trials).rates.log_ratio(32, 16)
        hits += abs(log_ratio) < 1.96 * error
    assert 176 <= hits <= 199


def test_the_order_of_trials_and_of_rounds_is_irrelevant() -> None:
    trials = noisy(LINE, noise=0.05, num_rounds=3)
    shuffled = list(trials)
    random.Random(1).shuffle(shuffled)
    again = estimated({size: trials[size] for size in shuffled})
    assert again.rates.sizes == tuple(sorted(trials))
    assert np.array_equal(again.rates.logs, estimated(trials).rates.logs)
    backwards = {
        size: timed(
            size,
            {each.number: each.step_times_s[2] for each in reversed(trial.rounds)},
        )
        for size, trial in trials.items()
    }
    assert estimated(backwards).rates.logs == pytest.approx(again.rates.logs, abs=1e-9)


def test_nothing_timed_is_nothing_known() -> None:
    failed = {8: Trial(batch_size=8, outcome=Outcome.OUT_OF_MEMORY)}
    for trials in ({}, failed):
        timings = estimated(trials)
        assert timings.rates.sizes == ()
        assert timings.curve is None


@pytest.mark.parametrize("num_steps", [1, 100])
def test_an_error_is_never_claimed_to_be_nothing(num_steps: int) -> None:
    steps = {"step_times_s": (0.01,) * num_steps, "data_times_s": (0.0,) * num_steps}
    trials = {
        size: Trial(batch_size=size, outcome=Outcome.FITS, rounds=(TimingRound(number=0, **steps),))
        for size in (8, 16)
    }
    log_ratio, error = estimated(trials).rates.log_ratio(16, 8)
    assert log_ratio == pytest.approx(math.log(2), abs=0.01)
    assert error > 0.001


def test_the_estimate_is_that_of_the_model_written_out() -> None:
    """Without a curve, the covariance of all cells at once gives the same figures."""
    trials = noisy({16: 1000.0, 32: 1500.0}, noise=0.05, num_rounds=4)
    cells = [(size, each) for size in trials for each in trials[size].rounds]
    logs = np.array([math.log(size / each.step_times_s[2]) for size, each in cells])
    of_size = np.array([[size == 16, size == 32] for size, _ in cells], dtype=float)
    # First runs share no round.
    rounds = [each.number or -size for size, each in cells]
    same_round = np.equal.outer(rounds, rounds)
    own = math.pi / 2 * (math.log(1.005) / 0.6745) ** 2 / 5
    prior, middle = 9.0 * np.eye(2), logs.mean()
    weights, shifts = [], []
    for noise in np.geomspace(0.0025, 0.64, 13):
        total = own * np.eye(len(logs)) + noise**2 * (np.eye(len(logs)) + same_round)
        total += of_size @ prior @ of_size.T
        solved = np.linalg.solve(total, logs - middle)
        evidence = -(np.linalg.slogdet(total)[1] + (logs - middle) @ solved) / 2
        weights.append(math.exp(evidence))
        shifts.append(prior @ of_size.T @ solved)
    expected = middle + np.average(shifts, axis=0, weights=weights)
    without_outliers = replace(NUMBERS, outlier=1e9)
    assert estimate(trials, without_outliers).rates.logs == pytest.approx(expected, abs=1e-4)


def test_scaling_multiplies_rates() -> None:
    rates = estimated(quiet({8: 800.0, 16: 900.0})).rates
    scaled = rates.scaled({16: 0.5})
    assert scaled.log_rate(16) == pytest.approx(rates.log_rate(16) + math.log(0.5))
    assert scaled.log_rate(8) == rates.log_rate(8)
    assert (rates.best(), scaled.best()) == (16, 8)


def test_the_band_holds_the_curve_and_widens_with_noise() -> None:
    widths = []
    for trials in (quiet(LINE), noisy(LINE, noise=0.2, num_rounds=2)):
        curve = estimated(trials).curve
        assert curve is not None
        for size, low, high in curve.band:
            assert low <= curve.samples_per_s(size) <= high
        widths.append(sum(high / low for _, low, high in curve.band))
    assert widths[0] < widths[1]


def test_what_a_restless_machine_does_to_single_sizes_does_not_speak_against_the_curve() -> None:
    curves = [estimated(noisy(LINE, noise=0.12, seed=seed)).curve for seed in range(40)]
    assert sum(curve is not None and curve.is_good for curve in curves) >= 38


def test_points_that_no_curve_describes_are_reported_as_poor() -> None:
    waves = {size: rate * (1.0, 2.5)[index % 2] for index, (size, rate) in enumerate(LINE.items())}
    curve = estimated(quiet(waves)).curve
    assert curve is not None
    assert not curve.is_good

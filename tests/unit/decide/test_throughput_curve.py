from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from autobatch.decide.throughput import fit_throughput
from autobatch.records import Outcome, TimingRound, Trial


def make_trials(
    step_time_s: Callable[[int], float], *, powers: int = 12, noise: float = 0.0, seed: int = 0
) -> dict[int, Trial]:
    generator = random.Random(seed)
    trials = {}
    for size in (2**k for k in range(powers)):
        times = tuple(step_time_s(size) * generator.lognormvariate(0, noise) for _ in range(9))
        timed = TimingRound(number=0, step_times_s=times, data_times_s=(0.0,) * 9)
        trials[size] = Trial(batch_size=size, outcome=Outcome.FITS, peak_bytes=1, rounds=(timed,))
    return trials


def test_fewer_than_three_sizes_make_no_curve() -> None:
    assert fit_throughput(make_trials(lambda size: 0.01, powers=2)) is None


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_latency_and_cost_per_sample_are_found(noise: float) -> None:
    curve = fit_throughput(make_trials(lambda size: 2e-3 + 1e-4 * size, noise=noise))
    assert curve is not None
    assert curve.is_good
    assert curve.latency_s == pytest.approx(2e-3, rel=0.05 + 2 * noise)
    assert curve.step_time_s(4096) == pytest.approx(2e-3 + 1e-4 * 4096, rel=0.05 + 2 * noise)


@pytest.mark.parametrize(
    "step_time_s",
    [
        lambda size: 2e-3 + 1e-4 * size + 2e-4 * max(0, size - 128),
        lambda size: 2e-3 + 1e-4 * size + 1e-7 * size**2,
    ],
    ids=["a cliff", "a growing cost"],
)
def test_a_throughput_that_falls_is_described_falling(
    step_time_s: Callable[[int], float],
) -> None:
    curve = fit_throughput(make_trials(step_time_s, noise=0.02))
    assert curve is not None
    assert curve.is_good
    best = max(range(12), key=lambda k: 2**k / step_time_s(2**k))
    fitted_best = max(range(12), key=lambda k: curve.samples_per_s(2**k))
    assert abs(best - fitted_best) <= 1
    assert curve.samples_per_s(2048) < 0.8 * curve.samples_per_s(2**fitted_best)


def test_a_flat_start_is_described() -> None:
    curve = fit_throughput(make_trials(lambda size: max(5e-3, 1e-4 * size), noise=0.01))
    assert curve is not None
    assert curve.step_time_s(1) == pytest.approx(5e-3, rel=0.1)
    assert curve.step_time_s(2048) == pytest.approx(0.2048, rel=0.1)


def test_what_a_restless_machine_does_to_single_sizes_does_not_speak_against_the_curve() -> None:
    def luck_of(seed: int, size: int) -> float:
        return random.Random(f"{seed} {size}").lognormvariate(0, 0.17)

    def is_good(seed: int) -> bool:
        trials = make_trials(
            lambda size: (2e-3 + 2e-4 * size) * luck_of(seed, size), noise=0.1, seed=seed
        )
        curve = fit_throughput(trials)
        assert curve is not None
        return curve.is_good

    assert sum(map(is_good, range(40))) >= 39


def test_points_that_no_curve_describes_are_reported_as_poor() -> None:
    curve = fit_throughput(make_trials(lambda size: 0.01 if size % 3 == 1 else 0.05))
    assert curve is not None
    assert not curve.is_good


def test_the_band_holds_the_curve_and_widens_with_noise() -> None:
    widths = []
    for noise in (0.01, 0.2):
        curve = fit_throughput(make_trials(lambda size: 2e-3 + 1e-4 * size, noise=noise))
        assert curve is not None
        for size, low, high in curve.band:
            assert low <= curve.samples_per_s(size) * 1.001
            assert curve.samples_per_s(size) <= high * 1.001
        widths.append(sum(high / low for _, low, high in curve.band))
    assert widths[0] < widths[1]


def test_the_same_points_give_the_same_curve() -> None:
    trials = make_trials(lambda size: 2e-3 + 1e-4 * size, noise=0.1)
    assert fit_throughput(trials) == fit_throughput(trials)

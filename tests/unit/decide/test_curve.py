"""Step time against batch size."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from fixtures.timings import SHAPES

from autobatch.decide.curve import Fit, fit_step_time

COEFFICIENTS = ("latency_s", "per_sample_s", "late_per_sample_s", "quadratic_s", "late_from")


def fitted(
    step_time_s: Callable[[int], float], *, powers: int = 12, noise: float = 0.0, seed: int = 0
) -> Fit:
    chance = random.Random(seed)
    sizes = [2**power for power in range(powers)]
    times = [step_time_s(size) * chance.lognormvariate(0, noise) for size in sizes]
    fit = fit_step_time(np.array(sizes, dtype=float), np.array(times), np.full(powers, 0.01))
    assert fit is not None
    return fit


@pytest.mark.parametrize("powers", [0, 1, 2])
def test_fewer_than_three_sizes_make_no_curve(powers: int) -> None:
    sizes = np.array([2.0**power for power in range(powers)])
    assert fit_step_time(sizes, 0.01 + 0 * sizes, 0.01 + 0 * sizes) is None


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_latency_and_cost_per_sample_are_found(noise: float) -> None:
    curve = fitted(SHAPES["a line"], noise=noise).curve
    assert curve.latency_s == pytest.approx(2e-3, rel=0.01 + 2 * noise)
    assert curve.step_time_s(4096) == pytest.approx(2e-3 + 1e-4 * 4096, rel=0.01 + 2 * noise)
    assert curve.r_squared > 0.99


def test_three_sizes_make_a_line() -> None:
    curve = fitted(SHAPES["a line"], powers=3).curve
    assert (curve.late_per_sample_s, curve.quadratic_s) == (0.0, 0.0)
    assert curve.per_sample_s == pytest.approx(1e-4, rel=1e-3)


def test_what_is_a_line_gets_no_further_terms() -> None:
    curve = fitted(SHAPES["a line"]).curve
    assert (curve.late_per_sample_s, curve.late_from, curve.quadratic_s) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("from_size", [34, 45, 50, 60])
def test_a_floor_that_ends_between_two_sizes_is_described(from_size: int) -> None:
    curve = fitted(lambda size: 1e-4 * max(from_size, size)).curve
    for power in range(12):
        truth = 1e-4 * max(from_size, 2**power)
        assert curve.step_time_s(2**power) == pytest.approx(truth, rel=0.05)
    assert curve.per_sample_s < 0.1 * curve.late_per_sample_s
    assert 32 <= curve.late_from <= 64


@pytest.mark.parametrize("shape", ["a cliff", "a growing cost"])
def test_a_throughput_that_falls_is_described_falling(shape: str) -> None:
    curve = fitted(SHAPES[shape], noise=0.02).curve
    best = max(range(12), key=lambda power: 2**power / SHAPES[shape](2**power))
    fitted_best = max(range(12), key=lambda power: curve.samples_per_s(2**power))
    assert abs(best - fitted_best) <= 1
    assert curve.samples_per_s(2048) < 0.8 * curve.samples_per_s(2**fitted_best)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_described_to_a_few_percent(shape: str) -> None:
    curve = fitted(SHAPES[shape]).curve
    for power in range(12):
        assert curve.step_time_s(2**power) == pytest.approx(SHAPES[shape](2**power), rel=0.04)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_coefficient_is_negative(shape: str) -> None:
    for seed in range(10):
        curve = fitted(SHAPES[shape], noise=0.1, seed=seed).curve
        assert min(getattr(curve, name) for name in COEFFICIENTS) >= 0


@pytest.mark.parametrize("shape", SHAPES)
def test_the_jacobian_is_what_small_changes_of_the_coefficients_do(shape: str) -> None:
    fit = fitted(SHAPES[shape])
    # At the hinge itself the step time has no derivative.
    sizes = [2**power for power in range(12) if 2**power != fit.curve.late_from]
    rows = [power for power in range(12) if 2**power in sizes]
    columns = []
    for name in COEFFICIENTS:
        coefficient = getattr(fit.curve, name)
        if coefficient > 0:
            up, down = (
                replace(fit.curve, **{name: coefficient * factor}) for factor in (1.0001, 0.9999)
            )
            ratios = [up.step_time_s(size) / down.step_time_s(size) for size in sizes]
            columns.append(np.log(ratios) / 0.0002)
    assert fit.jacobian[rows] == pytest.approx(np.stack(columns, axis=1), abs=1e-3)
    times = [fit.curve.step_time_s(size) for size in sizes]
    assert fit.log_times[rows] == pytest.approx(np.log(times))


def test_a_size_that_is_known_badly_counts_for_less() -> None:
    sizes = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    times = 0.01 + 0.001 * sizes
    times[2] *= 2
    sure, unsure = np.full(5, 0.01), np.array([0.01, 0.01, 1.0, 0.01, 0.01])
    fits = [fit_step_time(sizes, times, errors) for errors in (sure, unsure)]
    offs = [abs(fit.curve.step_time_s(16) / 0.026 - 1) for fit in fits if fit is not None]
    assert offs[1] < 0.01 < offs[0]


def test_the_same_points_give_the_same_curve() -> None:
    assert fitted(SHAPES["a cliff"], noise=0.1).curve == fitted(SHAPES["a cliff"], noise=0.1).curve

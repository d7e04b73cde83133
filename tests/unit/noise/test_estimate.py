"""The noise scale, on problems where it is known in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autobatch.noise.estimate import (
    GradientSums,
    average_noise_scale,
    estimate_noise_scale,
    fieller_interval,
    moments_from_norms,
)
from autobatch.records import NoiseScale

MICRO_BATCH_SIZE = 8
NUM_BLOCKS = 32


class LinearRegression:
    """Gradients of ``(x w - y)^2 / 2`` at a distance from the solution, ``x`` normal.

    With ``x ~ N(0, C)``, ``y = x w* + e`` and ``d = w - w*`` the gradient ``x (x d - e)`` has the
    mean ``C d`` and, by Isserlis' theorem, a covariance of trace
    ``tr(C) (d C d + s^2) + |C d|^2``, where ``s`` is the deviation of ``e``.
    """

    def __init__(self, seed: int = 0, *, distance: float = 1.0) -> None:
        generator = np.random.default_rng(seed)
        self.scales = np.exp(generator.normal(0, 0.7, 12))
        self.distance = distance * generator.normal(size=12) / math.sqrt(12)
        self.noise = 0.5

    @property
    def noise_scale(self) -> float:
        covariance, d = self.scales**2, self.distance
        mean = covariance * d
        spread = covariance.sum() * (d @ mean + self.noise**2) + mean @ mean
        return float(spread / (mean @ mean))

    def gradients(self, generator: np.random.Generator, num_micro_batches: int) -> np.ndarray:
        """Of micro-batches, shape ``(num_micro_batches, 12)``."""
        x = self.scales * generator.normal(size=(num_micro_batches, MICRO_BATCH_SIZE, 12))
        e = self.noise * generator.normal(size=(num_micro_batches, MICRO_BATCH_SIZE))
        return np.asarray(np.einsum("nbi,nb->ni", x, x @ self.distance - e) / MICRO_BATCH_SIZE)


def sums_of(gradients: np.ndarray, num_blocks: int = NUM_BLOCKS) -> GradientSums:
    blocks = [gradients[index::num_blocks] for index in range(num_blocks)]
    totals = np.array([block.sum(axis=0) for block in blocks])
    return GradientSums(
        dot_products=totals @ totals.T,
        squared_norms=np.array([(block**2).sum() for block in blocks]),
        counts=np.array([len(block) for block in blocks]),
        micro_batch_size=MICRO_BATCH_SIZE,
    )


def measure(problem: LinearRegression, seed: int, num_micro_batches: int) -> NoiseScale:
    gradients = problem.gradients(np.random.default_rng([1, seed]), num_micro_batches)
    return estimate_noise_scale(sums_of(gradients))


@pytest.mark.parametrize("distance", [3.0, 1.0, 0.3])
def test_the_estimate_is_within_10_percent_at_4096_micro_batches_of_8(distance: float) -> None:
    problem = LinearRegression(distance=distance)
    found = measure(problem, 0, 4096)
    assert found.noise_scale == pytest.approx(problem.noise_scale, rel=0.1)


@pytest.mark.parametrize(
    ("distance", "num_micro_batches"), [(3.0, 256), (1.0, 256), (1.0, 64), (0.3, 256), (0.3, 64)]
)
def test_a_90_percent_interval_holds_the_truth_in_about_nine_of_ten_runs(
    distance: float, num_micro_batches: int
) -> None:
    problem = LinearRegression(distance=distance)
    found = [measure(problem, seed, num_micro_batches) for seed in range(200)]
    held = sum(
        each.low <= problem.noise_scale <= (math.inf if each.high is None else each.high)
        for each in found
    )
    # Of 200 runs at 90 %, 168 to 192 are within 2.8 standard deviations.
    assert 168 <= held <= 196


def test_numerator_and_denominator_are_unbiased() -> None:
    problem = LinearRegression(distance=0.5)
    found = [measure(problem, seed, 32) for seed in range(400)]
    variance = np.mean([each.gradient_variance for each in found])
    squared_norm = np.mean([each.squared_gradient_norm for each in found])
    mean = problem.scales**2 * problem.distance
    assert squared_norm == pytest.approx(float(mean @ mean), rel=0.1)
    assert variance / squared_norm == pytest.approx(problem.noise_scale, rel=0.1)


def test_blocks_of_one_and_of_many_give_the_same_estimate() -> None:
    gradients = LinearRegression().gradients(np.random.default_rng(3), 96)
    single, joined = (estimate_noise_scale(sums_of(gradients, n)) for n in (96, 8))
    assert single.noise_scale == pytest.approx(joined.noise_scale)
    assert single.num_micro_batches == joined.num_micro_batches == 96


def test_the_two_batch_formulas_agree_with_the_micro_batches() -> None:
    gradients = LinearRegression().gradients(np.random.default_rng(4), 16)
    found = estimate_noise_scale(sums_of(gradients, 16))
    moments = moments_from_norms(
        float((gradients**2).sum(axis=1).mean()),
        float((gradients.mean(axis=0) ** 2).sum()),
        small=MICRO_BATCH_SIZE,
        big=16 * MICRO_BATCH_SIZE,
    )
    assert moments == pytest.approx((found.gradient_variance, found.squared_gradient_norm))


def test_at_the_solution_there_is_a_lower_end_and_no_upper_one() -> None:
    found = [measure(LinearRegression(distance=0.0), seed, 64) for seed in range(50)]
    assert sum(each.high is None for each in found) >= 40
    assert all(each.noise_scale is None or each.noise_scale > 100 for each in found)
    assert all(each.low > 0 and each.at_least >= each.low for each in found)


def test_gradients_without_noise_have_a_noise_scale_of_zero() -> None:
    found = estimate_noise_scale(sums_of(np.ones((32, 3)), 8))
    assert found.noise_scale == pytest.approx(0, abs=1e-9)
    assert found.high == pytest.approx(0, abs=1e-6)


def test_gradients_of_zero_have_no_noise_scale() -> None:
    found = estimate_noise_scale(sums_of(np.zeros((32, 3)), 8))
    assert (found.noise_scale, found.low, found.high) == (None, 0.0, None)


def test_what_is_not_finite_or_too_little_is_refused() -> None:
    gradients = np.ones((8, 3))
    with pytest.raises(ValueError, match="not finite"):
        estimate_noise_scale(sums_of(gradients * math.nan, 8))
    with pytest.raises(ValueError, match="3 blocks"):
        estimate_noise_scale(sums_of(gradients, 3))


def test_steps_are_averaged_before_they_are_divided() -> None:
    problem = LinearRegression()
    generator = np.random.default_rng(5)
    moments = []
    for _ in range(400):
        gradients = problem.gradients(generator, 4)
        norms = (gradients**2).sum(axis=1).mean(), (gradients.mean(axis=0) ** 2).sum()
        moments.append(moments_from_norms(*norms, small=MICRO_BATCH_SIZE, big=4 * MICRO_BATCH_SIZE))
    found = average_noise_scale(moments, micro_batch_size=8, num_micro_batches=1600)
    assert found is not None
    assert found.noise_scale == pytest.approx(problem.noise_scale, rel=0.15)
    assert found.low < problem.noise_scale < (found.high or math.inf)


def test_too_few_steps_and_infinite_ones_give_nothing() -> None:
    for moments in ([(1.0, 1.0)] * 3, [(1.0, 1.0)] * 9 + [(math.inf, 1.0)]):
        assert average_noise_scale(moments, micro_batch_size=1, num_micro_batches=9) is None


def test_an_interval_is_open_where_the_denominator_may_be_zero() -> None:
    low, high = fieller_interval(10.0, 1.0, np.diag([1.0, 1.0]), 2.0)
    assert high == math.inf
    assert 0 < low < 10
    closed = fieller_interval(10.0, 1.0, np.diag([0.01, 0.0001]), 2.0)
    assert closed[0] < 10 < closed[1] < 11
    # The numerator may be zero, too: nothing is known.
    assert fieller_interval(1.0, -0.5, np.diag([1.0, 1.0]), 2.0) == (0.0, math.inf)

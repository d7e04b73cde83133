"""Goodput: throughput times what a sample is worth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from autobatch.decide.rates import Rates
from autobatch.noise.goodput import find_efficiency, relative_efficiency
from autobatch.noise.worth import GradientWorth
from autobatch.records import Goal, NoiseScale, Settings

SIZES = (8, 16, 32, 64, 128, 256)


def noise_of(noise_scale: float | None, low: float = 1.0) -> NoiseScale:
    return NoiseScale(
        noise_scale=noise_scale,
        low=low,
        high=None,
        confidence_fraction=0.9,
        gradient_variance=1.0,
        squared_gradient_norm=1.0,
        micro_batch_size=8,
        num_micro_batches=64,
    )


def rates_of(samples_per_s: Any, sizes: tuple[int, ...] = SIZES) -> Rates:
    logs = np.array([math.log(samples_per_s(size)) for size in sizes])
    return Rates(sizes, logs, 1e-6 * np.eye(len(sizes)))


def saturating(size: int) -> float:
    """A step of 10 ms and 0.1 ms per sample."""
    return size / (0.01 + 1e-4 * size)


def test_a_sample_is_worth_one_at_the_base_and_half_where_batch_equals_noise() -> None:
    assert relative_efficiency(1000, 32, 32) == 1
    assert relative_efficiency(1000, 1000, 1e-9) == pytest.approx(0.5)
    assert relative_efficiency(1e12, 4096, 32) == pytest.approx(1)


def test_the_best_size_is_where_latency_and_noise_balance(make_workload: Any) -> None:
    # (phi + b0) b / ((phi + b) (t0 + t1 b)) is highest at b = sqrt(phi t0 / t1).
    for phi, best in ((40.96, 64), (655.36, 256), (0.64, 8)):
        found = find_efficiency(rates_of(saturating), noise_of(phi), Settings(), make_workload())
        assert found is not None
        assert found.batch_size == best


def test_every_figure_is_the_formula(make_workload: Any) -> None:
    workload = make_workload(base_batch_size=16)
    found = find_efficiency(rates_of(saturating), noise_of(100.0), Settings(), workload)
    assert found is not None
    assert found.base_batch_size == 16
    for each in found.goodputs:
        worth = (100 + 16) / (100 + each.batch_size)
        assert each.samples_per_s == pytest.approx(saturating(each.batch_size))
        assert each.relative_efficiency == pytest.approx(worth)
        assert each.goodput_samples_per_s == pytest.approx(worth * saturating(each.batch_size))


def test_the_base_is_only_a_unit(make_workload: Any) -> None:
    answers = {
        found.batch_size
        for base in (1, 32, 4096)
        if (
            found := find_efficiency(
                rates_of(saturating),
                noise_of(50.0),
                Settings(base_batch_size=base),
                make_workload(),
            )
        )
    }
    assert len(answers) == 1


def test_the_lower_end_stands_in_for_an_estimate(make_workload: Any) -> None:
    rates, settings, workload = rates_of(saturating), Settings(), make_workload()
    found = find_efficiency(rates, noise_of(None, low=40.96), settings, workload)
    assert found is not None
    assert found.noise_is_lower_bound
    assert found.batch_size == 64
    assert find_efficiency(rates, noise_of(None, low=0.0), settings, workload) is None
    assert find_efficiency(rates, None, settings, workload) is None


def test_where_all_samples_are_alike_only_steps_count(make_workload: Any) -> None:
    found = find_efficiency(rates_of(saturating), noise_of(0.0), Settings(), make_workload())
    assert found is not None
    assert found.batch_size == 8


def test_a_global_batch_that_is_asked_for_makes_all_samples_worth_the_same(
    make_workload: Any,
) -> None:
    settings = Settings(global_batch_size=512, goal=Goal.EFFICIENCY)
    found = find_efficiency(rates_of(saturating), noise_of(10.0), settings, make_workload())
    assert found is not None
    worths = [each.relative_efficiency for each in found.goodputs]
    assert worths == pytest.approx([worths[0]] * len(worths))
    assert found.batch_size == 256


def test_several_devices_share_a_global_batch(make_workload: Any) -> None:
    settings = Settings(num_devices=4)
    found = find_efficiency(rates_of(saturating), noise_of(40.96), settings, make_workload())
    assert found is not None
    assert found.goodputs[0].global_batch_size == 32
    # b = 4 s: the best is at s = sqrt(phi / 4 * t0 / t1).
    assert found.batch_size == 32


def test_the_goal_says_at_which_noise_scale_its_answer_is_the_best() -> None:
    worth = GradientWorth(Settings(goal=Goal.EFFICIENCY))
    assert not worth.is_known()
    worth.noise = noise_of(40.96)
    assert worth.is_known()
    assert "noise scale of 41 samples" in worth.reason()
    worth.noise = noise_of(None, low=40.96)
    assert worth.is_known()
    assert "at least 41 samples" in worth.reason()
    worth.noise = noise_of(None, low=0.0)
    assert not worth.is_known()


def test_a_noise_scale_that_is_measured_for_another_goal_does_not_decide() -> None:
    worth = GradientWorth(Settings(gradient_noise=True))
    worth.noise = noise_of(40.96)
    assert not worth.is_known()

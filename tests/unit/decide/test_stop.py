"""When to stop climbing, from rates and curves made by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from autobatch.decide.rates import estimate_rates
from autobatch.decide.stop import is_on_plateau
from autobatch.decide.throughput import fit_throughput
from autobatch.records import Outcome, TimingRound, Trial

STEADY = (0.99, 1.0, 1.0, 1.0, 1.01)


def trials_with(rates: Mapping[int, float]) -> dict[int, Trial]:
    """Trials of sizes with steady steps, from samples per second."""
    return {
        size: Trial(
            batch_size=size,
            outcome=Outcome.FITS,
            rounds=(
                TimingRound(
                    number=0,
                    step_times_s=tuple(size / rate * each for each in STEADY),
                    data_times_s=(0.0,) * len(STEADY),
                ),
            ),
        )
        for size, rate in rates.items()
    }


def is_flat(rates: Mapping[int, float], *, with_curve: bool = True) -> bool:
    trials = trials_with(rates)
    curve = fit_throughput(trials, with_band=False) if with_curve else None
    return is_on_plateau(estimate_rates(trials, curve), curve, tolerance_fraction=0.05)


def affine(latency_s: float, per_sample_s: float, largest: int) -> dict[int, float]:
    sizes = [2**power for power in range(largest.bit_length())]
    return {size: size / (latency_s + per_sample_s * size) for size in sizes}


def test_growing_throughput_is_no_plateau() -> None:
    assert not is_flat(affine(0.05, 0.01, 32))


@pytest.mark.parametrize("with_curve", [True, False])
def test_two_flat_doublings_are(with_curve: bool) -> None:
    assert is_flat(affine(0.001, 0.01, 64), with_curve=with_curve)


def test_a_gain_within_the_tolerance_is_enough_where_the_curve_promises_no_more() -> None:
    gained = affine(0.0085, 0.01, 64)  # 3.6 % from 16 to 64, and 1.3 % beyond
    assert 1.025 < gained[64] / gained[16] < 1.05
    assert is_flat(gained)
    assert not is_flat(gained, with_curve=False)


def test_a_gain_within_the_tolerance_is_enough_where_the_last_size_fell_far_behind() -> None:
    risen = {1: 60.0, 2: 80.0, 4: 95.0, 8: 100.0, 16: 103.0, 32: 103.5, 64: 100.0}
    assert not is_flat({**risen, 8: 90.0, 16: 96.0, 32: 100.0}, with_curve=False)
    assert is_flat({**risen, 8: 90.0, 16: 96.0, 32: 100.0, 64: 45.0}, with_curve=False)


def test_where_steps_take_long_the_promise_of_the_curve_is_enough() -> None:
    gained = affine(1.0, 0.2, 256)  # 5.8 % from 64 to 256, and 2 % beyond
    assert 1.05 < gained[256] / gained[64] < 1.06
    assert is_flat(gained)
    assert not is_flat(gained, with_curve=False)
    assert not is_flat({size: 100 * rate for size, rate in gained.items()})
    assert not is_flat(affine(1.0, 0.2, 128))  # 4 % beyond


def test_a_few_samples_of_a_short_step_say_nothing() -> None:
    odd_start = {1: 900.0, 2: 500.0, 4: 700.0}
    assert not is_flat(odd_start)
    slow_steps = {size: rate / 1000 for size, rate in odd_start.items()}
    assert is_flat(slow_steps, with_curve=False)

"""What the measurements and the curve through all of them say together."""

from __future__ import annotations

import math

import numpy as np
import pytest

from autobatch.decide.posterior import draw_to_curve
from autobatch.decide.rates import Rates
from autobatch.records import ThroughputCurve

SIZES = tuple(2**power for power in range(11))
CURVE = ThroughputCurve(
    latency_s=4e-3,
    per_sample_s=1e-4,
    late_per_sample_s=0.0,
    late_from=0.0,
    quadratic_s=0.0,
    r_squared=1.0,
    is_good=True,
    band=(),
)


def measured(error: float, **deviations: float) -> Rates:
    """Rates on the curve but for some, such as ``at_128=-0.1``, each with an error of its own."""
    logs = np.log([CURVE.samples_per_s(size) for size in SIZES])
    for name, deviation in deviations.items():
        logs[SIZES.index(int(name.removeprefix("at_")))] += deviation
    return Rates(SIZES, logs, np.eye(len(SIZES)) * error**2)


def deviation_at(size: int, rates: Rates) -> float:
    return rates.log_rate(size) - math.log(CURVE.samples_per_s(size))


def test_one_slow_run_on_a_noisy_machine_is_drawn_to_the_curve() -> None:
    rates = draw_to_curve(measured(0.15, at_128=-0.15), CURVE)
    assert abs(deviation_at(128, rates)) < 0.04


def test_a_size_that_is_known_to_be_slow_stays_slow() -> None:
    rates = draw_to_curve(measured(0.01, at_128=-0.15), CURVE)
    assert deviation_at(128, rates) == pytest.approx(-0.15, abs=0.02)
    assert deviation_at(64, rates) == pytest.approx(0.0, abs=0.02)


def test_a_curve_that_does_not_describe_the_points_is_not_followed() -> None:
    waves = {f"at_{size}": 0.5 * (-1) ** index for index, size in enumerate(SIZES)}
    before = measured(0.02, **waves)
    after = draw_to_curve(before, CURVE)
    assert np.allclose(before.logs, after.logs, atol=0.05)


def test_the_curve_makes_a_ratio_surer_but_never_certain() -> None:
    before = measured(0.15)
    after = draw_to_curve(before, CURVE)
    assert 0.01 < after.log_ratio(256, 128)[1] < before.log_ratio(256, 128)[1] / 3


def test_without_a_curve_the_measurements_stand() -> None:
    rates = measured(0.1)
    assert draw_to_curve(rates, None) is rates

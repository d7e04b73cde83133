"""Where rounds lie, and how sure one may be of it."""

from __future__ import annotations

import random
import statistics

import pytest

from autobatch.check.judge.location import Location, locate


def test_the_middle_of_rounds_that_agree_is_what_they_agree_on() -> None:
    location = locate([1.5] * 10)
    assert location.center == pytest.approx(1.5)
    assert location.error > 0, "no machine is that sure of itself"


def test_one_burst_does_not_move_the_middle() -> None:
    calm = [0.01 * (index % 5) for index in range(20)]
    struck = [*calm[:10], calm[10] + 3.0, *calm[11:]]
    assert locate(struck).center == pytest.approx(locate(calm).center, abs=0.01)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = random.Random(0)
    missed = [0, 0]
    for _ in range(2000):
        low, high = locate([generator.gauss(0, 0.05) for _ in range(15)]).interval(0.05)
        missed[0] += low > 0
        missed[1] += high < 0
    # 100 of 2,000 are expected on either side.
    assert all(60 < each < 140 for each in missed)


def test_rounds_that_wander_are_less_certain_than_rounds_that_do_not() -> None:
    generator = random.Random(1)
    noise = [generator.gauss(0, 0.05) for _ in range(40)]
    wander, now = [], 0.0
    for each in noise:
        now = 0.8 * now + 0.6 * each
        wander.append(now)
    shuffled = wander.copy()
    generator.shuffle(shuffled)
    assert locate(wander).error > 1.5 * locate(shuffled).error


def test_a_difference_is_less_certain_than_either_and_drift_adds_to_it() -> None:
    one = Location(center=1.0, error=0.03, degrees_of_freedom=10)
    other = Location(center=0.4, error=0.04, degrees_of_freedom=20)
    assert one.minus(other).center == pytest.approx(0.6)
    assert one.minus(other).error == pytest.approx(0.05)
    assert one.minus(other, drift=0.12).error == pytest.approx(0.13)
    assert one.minus(other).degrees_of_freedom == pytest.approx(
        0.0025**2 / (8.1e-8 + 1.28e-7), rel=1e-6
    )


def test_the_trimmed_mean_is_the_mean_of_the_middle() -> None:
    values = [5.0, 1.0, 2.0, 3.0, 100.0]
    assert locate(values).center == pytest.approx(statistics.mean([2.0, 3.0, 5.0]))

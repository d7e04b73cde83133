"""What a reference says of a target: learned from what lasts, doubted by how far it has moved."""

from __future__ import annotations

import math
import random

import pytest

from autobatch.check.judge.coupling import Coupling
from autobatch.check.measurement import CheckRound

EXPECTED = Coupling(slope=0.6, slope_error=0.2, slope_drift=0.1, drift=0.015)


def draw_session(
    seed: int,
    *,
    count: int = 150,
    felt: float = 1 / 3,
    shift: float = 0.0,
    wander: float = 0.1,
    noise: float = 0.03,
    slowdown: float = 1.0,
) -> tuple[CheckRound, ...]:
    """Rounds of a session in which the machine's speed wanders around ``shift``."""
    generator = random.Random(seed)
    speed, rounds = 0.0, []
    for _ in range(count):
        speed = 0.9 * speed + generator.gauss(0, wander * math.sqrt(1 - 0.9**2))
        target = felt * (shift + speed) + generator.gauss(0, noise)
        reference = shift + speed + generator.gauss(0, noise)
        rounds.append(
            CheckRound(
                step_times_s=(0.01 * slowdown * math.exp(target),),
                reference_times_s=(0.02 * math.exp(reference),),
            )
        )
    return tuple(rounds)


@pytest.mark.parametrize("felt", [0.0, 1 / 3, 1.0])
def test_the_slope_is_what_lasting_changes_show(felt) -> None:
    learned = EXPECTED.learn_from(draw_session(1, felt=felt), draw_session(2, felt=felt))
    assert learned.slope == pytest.approx(felt, abs=0.12)
    assert learned.slope_error < EXPECTED.slope_error / 2
    assert (learned.drift, learned.slope_drift) == (EXPECTED.drift, EXPECTED.slope_drift)


def test_more_of_a_session_makes_it_surer() -> None:
    few, many = (EXPECTED.learn_from(draw_session(3, count=count)) for count in (30, 300))
    assert many.slope_error < few.slope_error


def test_noise_of_single_rounds_does_not_flatten_the_slope() -> None:
    quiet = {"felt": 1.0, "wander": 0.0, "noise": 0.2}
    slopes = [EXPECTED.learn_from(draw_session(seed, **quiet)).slope for seed in range(20)]
    assert sum(slopes) / len(slopes) == pytest.approx(EXPECTED.slope, abs=0.05)


def test_a_difference_between_sessions_teaches_nothing() -> None:
    slower = draw_session(5, shift=0.5, slowdown=2.0)
    apart = EXPECTED.learn_from(draw_session(4), slower)
    alike = EXPECTED.learn_from(draw_session(4), draw_session(5))
    assert apart.slope == pytest.approx(alike.slope)


@pytest.mark.parametrize("count", [1, 3, 11])
def test_too_few_rounds_leave_what_was_expected(count) -> None:
    assert EXPECTED.learn_from(draw_session(6, count=count)) == EXPECTED


def test_a_reference_that_stands_still_leaves_what_was_expected() -> None:
    still = (CheckRound(step_times_s=(0.01,), reference_times_s=(0.02,)),) * 60
    assert EXPECTED.learn_from(still) == EXPECTED


def test_a_slope_that_is_known_is_not_learned() -> None:
    known = Coupling(slope=1.0, drift=0.015)
    assert known.learn_from(draw_session(7)) is known


def test_without_a_reference_rounds_need_none() -> None:
    rounds = tuple(CheckRound(step_times_s=(time_s,)) for time_s in (0.1, 0.2, 0.4) * 3)
    alone = Coupling(slope=0.0, drift=0.05).learn_from(rounds)
    assert alone.locate(rounds).center == pytest.approx(math.log(0.2))
    assert alone.compare(rounds, rounds).center == 0.0


def test_a_round_counts_once_however_many_steps_it_has() -> None:
    few = CheckRound(step_times_s=(0.1, 0.2, 0.3), reference_times_s=(0.1,))
    many = CheckRound(step_times_s=(0.2,) * 100, reference_times_s=(0.05, 0.1, 0.9))
    ratio = Coupling(slope=1.0, drift=0.0).locate((few, few, many, many))
    assert ratio.center == pytest.approx(math.log(2))


def test_what_the_target_feels_is_taken_off_and_no_more() -> None:
    before, now = draw_session(8, count=200), draw_session(9, count=200, shift=0.3, slowdown=1.2)
    found = EXPECTED.learn_from(before, now).compare(now, before)
    assert found.center == pytest.approx(math.log(1.2), abs=2 * found.error)
    as_they_are = Coupling(slope=1.0, drift=0.015).compare(now, before)
    assert as_they_are.center < 0, "a reference that is hit harder would hide what became slower"


def test_the_farther_the_reference_has_moved_the_less_is_certain() -> None:
    before = draw_session(10)
    errors = [
        EXPECTED.learn_from(before).compare(draw_session(11, shift=shift), before).error
        for shift in (0.0, 0.2, 0.4)
    ]
    assert errors[0] < errors[1] < errors[2]

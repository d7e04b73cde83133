"""When steps are enough, on a clock that the steps turn."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.probe.protocol import TimingPlan
from autobatch.probe.trial.timing import median_error_fraction, time_steps, warm_up


def test_slow_warm_up_steps_are_as_many_as_asked_for(clock: Any) -> None:
    assert warm_up(clock.step(1.0), TimingPlan(num_warmup_steps=3), clock) == 3
    assert clock.num_steps == 3


def test_short_warm_up_steps_go_on_until_some_time_has_passed(clock: Any) -> None:
    count = warm_up(clock.step(0.001), TimingPlan(num_warmup_steps=2), clock)
    assert count == clock.num_steps
    assert 0.05 <= clock.now_s < 0.06


def test_every_step_time_and_data_time_is_kept(clock: Any) -> None:
    plan = TimingPlan(min_steps=4, max_time_s=0.0, round_number=2)
    timed = time_steps(clock.step(0.1, 0.4, 0.2, 0.3, data_s=0.05), plan, clock)
    assert timed.step_times_s == pytest.approx((0.1, 0.4, 0.2, 0.3))
    assert timed.data_times_s == (0.05,) * 4
    assert timed.number == 2


def test_steady_steps_end_once_there_are_enough_to_see_it(clock: Any) -> None:
    timed = time_steps(clock.step(0.1), TimingPlan(min_steps=3, max_time_s=100.0), clock)
    assert len(timed.step_times_s) == 5


def test_noisy_steps_go_on_until_the_time_is_used(clock: Any) -> None:
    times = [0.1, 0.3] * 200
    plan = TimingPlan(min_steps=3, max_time_s=2.0, precision_fraction=0.02)
    timed = time_steps(clock.step(*times), plan, clock)
    assert len(timed.step_times_s) == 10
    assert clock.now_s == pytest.approx(2.0)


def test_noisy_steps_end_when_the_median_is_known_well_enough(clock: Any) -> None:
    times = [0.1, 0.11, 0.09] * 200
    plan = TimingPlan(min_steps=3, max_time_s=1000.0, precision_fraction=0.02)
    timed = time_steps(clock.step(*times), plan, clock)
    assert 5 < len(timed.step_times_s) < 400
    assert median_error_fraction(list(timed.step_times_s)) <= 0.02
    assert median_error_fraction(list(timed.step_times_s)[:-1]) > 0.02


def test_no_step_begins_after_the_time(clock: Any) -> None:
    plan = TimingPlan(min_steps=1, max_time_s=1.0, precision_fraction=0.0)
    timed = time_steps(clock.step(0.4, 0.5), plan, clock)
    assert len(timed.step_times_s) == 3  # the third begins at 0.9 s


def test_the_fewest_steps_run_even_past_the_time(clock: Any) -> None:
    timed = time_steps(clock.step(5.0), TimingPlan(min_steps=3, max_time_s=0.5), clock)
    assert len(timed.step_times_s) == 3


def test_steps_that_take_very_long_are_not_repeated_for_their_number(clock: Any) -> None:
    timed = time_steps(clock.step(60.0), TimingPlan(min_steps=3, max_time_s=0.5), clock)
    assert timed.step_times_s == (60.0,)


def test_there_is_a_most_steps(clock: Any) -> None:
    times = [1e-5, 9e-5] * 1000
    plan = TimingPlan(min_steps=3, max_time_s=1000.0, precision_fraction=0.0)
    assert len(time_steps(clock.step(*times), plan, clock).step_times_s) == 400


def test_steps_too_short_for_the_clock_are_no_error(clock: Any) -> None:
    timed = time_steps(clock.step(0.0), TimingPlan(min_steps=3, max_time_s=0.5), clock)
    assert len(timed.step_times_s) == 5


def test_what_a_step_raises_passes_through(clock: Any) -> None:
    def fail() -> float:
        raise KeyError("here")

    with pytest.raises(KeyError, match="here"):
        time_steps(fail, TimingPlan(), clock)


def test_the_error_of_a_median_shrinks_with_the_root_of_the_count() -> None:
    few = [1.0, 1.1, 0.9, 1.05, 0.95]
    assert median_error_fraction(few * 4) == pytest.approx(median_error_fraction(few) / 2, rel=0.2)


def test_the_error_of_a_median_is_a_share_of_it() -> None:
    times = [1.0, 1.1, 0.9, 1.05, 0.95]
    slower = [time * 1000 for time in times]
    assert median_error_fraction(slower) == pytest.approx(median_error_fraction(times))


def test_equal_times_have_no_error() -> None:
    assert median_error_fraction([0.2] * 5) == 0.0


def test_the_time_of_a_step_of_several_passes_is_that_of_one_of_them(clock: Any) -> None:
    plan = TimingPlan(min_steps=2, max_time_s=0.0, num_passes=4)
    timed = time_steps(clock.step(8.0, data_s=4.0), plan, clock)
    assert timed.step_times_s == (2.0, 2.0)
    assert timed.data_times_s == (1.0, 1.0)

"""When steps are enough, on a clock that the steps turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autobatch.probe.protocol import TimingPlan
from autobatch.probe.trial.timing import (
    median_error_fraction,
    time_chains,
    time_steps,
    warm_up,
)

STEADY = TimingPlan(min_steps=3, max_time_s=0.5)


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


class Queue:
    """A device that works through what a host launches, on one clock.

    Args:
        data_s: Time in which the host makes a batch.
        launch_s: Time in which it launches a step.
        device_s: Time that the device takes for one.
    """

    def __init__(self, data_s: float, launch_s: float, device_s: float) -> None:
        self.data_s, self.launch_s, self.device_s = data_s, launch_s, device_s
        self.now_s = self.free_s = 0.0
        self.num_steps = self.num_waits = 0

    def clock(self) -> float:
        return self.now_s

    def launch(self) -> float:
        self.num_steps += 1
        begin_s = self.now_s + self.data_s
        self.now_s = begin_s + self.launch_s
        self.free_s = max(self.now_s, max(self.free_s, begin_s) + self.device_s)
        return self.data_s

    def mark(self) -> Any:
        return Reached(self.free_s)

    def synchronize(self) -> None:
        self.num_waits += 1
        self.now_s = max(self.now_s, self.free_s)


class Reached:
    def __init__(self, at_s: float) -> None:
        self.at_s = at_s

    def elapsed_time(self, later: Any) -> float:
        return 1000 * (later.at_s - self.at_s)


def time_queue(queue: Queue, plan: TimingPlan = STEADY) -> Any:
    serial_s = queue.data_s + max(queue.launch_s, queue.device_s)
    device: Any = queue
    return time_chains(queue.launch, device, plan, queue.clock, step_time_s=serial_s)


@pytest.mark.parametrize(
    ("data_s", "launch_s", "device_s"),
    [(0.004, 0.001, 0.010), (0.010, 0.002, 0.004), (0.0, 0.008, 0.001), (0.3, 0.01, 0.5)],
)
def test_a_step_takes_the_longer_of_the_hosts_time_and_the_devices(
    data_s: float, launch_s: float, device_s: float
) -> None:
    timed = time_queue(Queue(data_s, launch_s, device_s))
    expected_s = max(data_s + launch_s, device_s)
    assert timed.step_times_s == pytest.approx((expected_s,) * len(timed.step_times_s))


def test_the_host_waits_for_the_device_once_in_a_tenth_of_a_second() -> None:
    queue = Queue(0.0, 0.001, 0.010)
    timed = time_queue(queue, TimingPlan(min_steps=30, max_time_s=0.0, precision_fraction=0))
    assert len(timed.step_times_s) == 30
    assert (queue.num_waits, queue.num_steps) == (3, 33)


def test_steps_longer_than_a_chain_are_timed_after_one_that_fills_the_queue() -> None:
    queue = Queue(0.1, 0.0, 1.0)
    timed = time_queue(queue, TimingPlan(min_steps=1, max_time_s=0.0))
    assert timed.step_times_s == pytest.approx((1.0,))
    assert queue.num_steps == 2


def test_of_steps_of_several_passes_a_chain_tells_the_time_of_a_pass() -> None:
    timed = time_queue(Queue(0.010, 0.001, 0.004), replace(STEADY, num_passes=2))
    assert set(timed.data_times_s) == {0.005}
    assert timed.step_times_s == pytest.approx((0.0055,) * len(timed.step_times_s))


def test_a_batch_that_was_made_while_the_device_worked_held_nothing_up() -> None:
    hidden = time_queue(Queue(0.004, 0.001, 0.010))
    assert set(hidden.data_times_s) == {0.0}
    waited = time_queue(Queue(0.010, 0.001, 0.004))
    assert set(waited.data_times_s) == {0.010}

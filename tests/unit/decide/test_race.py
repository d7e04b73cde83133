"""Who takes part in a round, and when there is time for one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.timings import timed

from autobatch.decide.numbers import NUMBERS
from autobatch.decide.race import final_time_s, is_worth_a_round, pick_round, race_time_s
from autobatch.records import Trial

TRIALS = {
    8: timed(8, {0: 0.01}),
    16: timed(16, {0: 0.02}),
    128: timed(128, {0: 0.5}),
    256: timed(256, {0: 1.0}),
}


def test_a_round_takes_two_steps_to_warm_up_and_a_tenth_of_a_second() -> None:
    assert race_time_s(TRIALS[8], NUMBERS) == pytest.approx(2 * 0.01 + NUMBERS.race_window_s)


def test_where_a_step_is_longer_than_that_it_takes_one() -> None:
    assert race_time_s(TRIALS[256], NUMBERS) == pytest.approx(3 * 1.0)


def test_a_final_run_takes_three_windows_and_no_more_than_patience() -> None:
    numbers = replace(NUMBERS, final_window_s=0.15, final_steps=10, patience_s=0.5, final_windows=3)
    assert final_time_s(TRIALS[8], numbers) == pytest.approx(1 + 0.02 + 3 * 0.15)
    assert final_time_s(TRIALS[16], numbers) == pytest.approx(1 + 0.04 + 3 * 0.2)
    assert final_time_s(TRIALS[256], numbers) == pytest.approx(1 + 2.0 + 3 * 0.5)


def test_all_that_cost_about_the_same_take_part_in_the_first_round() -> None:
    assert pick_round([16, 8], TRIALS, {}, NUMBERS) == (8, 16)


def test_who_costs_much_sits_out_until_the_others_had_their_share() -> None:
    racing = [8, 16, 128]
    assert pick_round(racing, TRIALS, {}, NUMBERS) == (8, 16)
    spent_s = {8: 0.5, 16: 0.7, 128: 5.0}
    assert pick_round(racing, TRIALS, spent_s, NUMBERS) == (8, 16)
    assert pick_round(racing, TRIALS, {**spent_s, 8: 1.6, 16: 2.1}, NUMBERS) == (8, 16, 128)


def test_two_take_part_whatever_they_cost() -> None:
    assert pick_round([8, 256], TRIALS, {8: 0.5, 256: 50.0}, NUMBERS) == (8, 256)


def test_times_stay_within_reach_of_each_other() -> None:
    spent_s = dict.fromkeys(TRIALS, 0.0)
    for _ in range(200):
        for size in pick_round(list(TRIALS), TRIALS, spent_s, NUMBERS):
            spent_s[size] += race_time_s(TRIALS[size], NUMBERS)
    dearest_s = max(race_time_s(trial, NUMBERS) for trial in TRIALS.values())
    assert max(spent_s.values()) <= NUMBERS.fair_share * min(spent_s.values()) + dearest_s


def is_worth_it(cost_s: float, *, search_s: float, raced_s: float, noise: float) -> bool:
    return is_worth_a_round(
        cost_s, search_s=search_s, raced_s=raced_s, noise_fraction=noise, numbers=NUMBERS
    )


def test_a_quiet_device_is_raced_for_a_fifth_of_the_search() -> None:
    assert is_worth_it(0.5, search_s=10.0, raced_s=1.4, noise=0.01)
    assert not is_worth_it(0.5, search_s=10.0, raced_s=1.6, noise=0.01)


def test_a_noisy_machine_is_raced_for_more_than_half_of_the_search() -> None:
    assert is_worth_it(0.5, search_s=100.0, raced_s=59.4, noise=0.05)
    assert not is_worth_it(0.5, search_s=100.0, raced_s=59.6, noise=0.05)


def test_after_a_short_search_a_noisy_machine_is_raced_for_six_seconds() -> None:
    assert is_worth_it(0.5, search_s=1.0, raced_s=5.4, noise=0.05)
    assert not is_worth_it(0.5, search_s=1.0, raced_s=5.6, noise=0.05)


def test_a_size_that_was_not_timed_costs_its_start() -> None:
    untimed = Trial(batch_size=8, outcome=TRIALS[8].outcome)
    assert race_time_s(untimed, NUMBERS) == NUMBERS.race_window_s

"""What a round of a race costs, and what a final run does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.timings import timed

from autobatch.decide.numbers import NUMBERS
from autobatch.decide.race import final_time_s, race_time_s
from autobatch.records import Trial

TRIALS = {
    8: timed(8, {0: 0.01}),
    16: timed(16, {0: 0.02}),
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


def test_a_size_that_was_not_timed_costs_its_start() -> None:
    untimed = Trial(batch_size=8, outcome=TRIALS[8].outcome)
    assert race_time_s(untimed, NUMBERS) == NUMBERS.race_window_s

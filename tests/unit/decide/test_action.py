"""What to do next, asked without anything that runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fixtures.timings import MIB, decided, quiet

from autobatch.decide.action import Finish, MeasureWorth, Progress, Run, Time, next_action
from autobatch.decide.grid import make_grid
from autobatch.decide.step import Rules
from autobatch.records import Goal, Outcome, Phase, Settings, StopReason, Trial

FLAT = {16: 960.0, 32: 990.0, 64: 1000.0, 128: 1000.0}
RISING = {16: 500.0, 32: 700.0, 64: 900.0, 128: 1100.0}
#: What the search took so far: more than any size of a flat curve costs.
SPENT = Time(spent_s=1000.0)


def progress(
    rates: dict[int, float] | None = None,
    *,
    yours: int | None = None,
    trials: dict[int, Trial] | None = None,
    goal: Goal = Goal.THROUGHPUT,
    global_batch_size: int | None = None,
    raced_s: float = 0.0,
    confirmed: tuple[int, ...] = (),
    lacks_worth: bool = False,
    **decision: Any,
) -> Progress:
    settings = Settings(goal=goal, global_batch_size=global_batch_size)
    rules = Rules(
        grid=make_grid(settings, 4096, 1, yours),
        goal=goal,
        budget_bytes=2**40,
        uncertainty_fraction=0.1,
    )
    made = None
    if rates is not None:
        made = decided(rates, your_batch_size=yours, goal=goal, **decision)
    return Progress(
        settings=settings,
        rules=rules,
        trials=trials or quiet(rates or {}),
        decision=made,
        raced_s=raced_s,
        confirmed=confirmed,
        lacks_worth=lacks_worth,
    )


def run(*batch_sizes: int, phase: Phase) -> Run:
    return Run(batch_sizes=batch_sizes, phase=phase)


def test_the_climb_begins_at_the_smallest_size() -> None:
    assert next_action(progress(), SPENT) == run(1, phase=Phase.SEARCH)


def test_where_the_smallest_size_does_not_fit_there_is_nothing_to_do() -> None:
    trials = {1: Trial(batch_size=1, outcome=Outcome.OUT_OF_MEMORY)}
    assert next_action(progress(trials=trials), SPENT) == Finish(reason=StopReason.MEMORY)


def test_while_throughput_rises_the_next_size_runs() -> None:
    assert next_action(progress(RISING), SPENT) == run(256, phase=Phase.SEARCH)


def test_yours_runs_before_anything_else_once_the_climb_has_ended() -> None:
    known = progress(FLAT, yours=1000, to_race=(16, 32), lacks_worth=True)
    assert next_action(known, SPENT) == run(1000, phase=Phase.SEARCH)


def test_a_size_that_costs_more_than_all_before_is_begun_only_while_throughput_rises() -> None:
    nearly_flat = {16: 19.2, 32: 19.5, 64: 19.8}
    cost_s = 3 * 128 / 19.8
    for spent_s, expected in (
        (1.01 * cost_s, run(128, phase=Phase.SEARCH)),
        (0.99 * cost_s, run(64, phase=Phase.CONFIRMATION)),
    ):
        assert next_action(progress(nearly_flat), Time(spent_s=spent_s)) == expected
    rising = {size: rate / 50 for size, rate in RISING.items()}
    assert next_action(progress(rising), Time(spent_s=0.0)) == run(256, phase=Phase.SEARCH)
    ended = progress(nearly_flat, confirmed=(64,))
    assert next_action(ended, Time(spent_s=0.0)) == Finish(reason=StopReason.COST)


@pytest.mark.parametrize(
    "known", [progress(), progress(RISING), progress(FLAT, to_race=(16, 32), lacks_worth=True)]
)
def test_when_the_time_is_up_it_is_over_whatever_is_left_to_do(known: Progress) -> None:
    over = Time(spent_s=10.0, left_s=0.0)
    assert next_action(known, over) == Finish(reason=StopReason.TIME_LIMIT)


def test_time_to_start_is_kept_for_the_final_run_where_each_run_starts_from_nothing() -> None:
    short = Time(spent_s=110.0, left_s=10.0, final_start_s=12.0)
    assert next_action(progress(RISING), short) == run(128, phase=Phase.CONFIRMATION)
    assert next_action(progress(RISING, confirmed=(128,)), short) == Finish(
        reason=StopReason.TIME_LIMIT
    )
    enough = replace(short, left_s=13.0)
    assert next_action(progress(RISING), enough) == run(256, phase=Phase.SEARCH)
    assert next_action(progress(), short) == run(1, phase=Phase.SEARCH)


def test_what_a_sample_is_worth_is_measured_after_the_climb_and_before_the_race() -> None:
    assert next_action(progress(RISING, lacks_worth=True), SPENT) == run(256, phase=Phase.SEARCH)
    known = progress(FLAT, to_race=(16, 32), lacks_worth=True)
    assert next_action(known, SPENT) == MeasureWorth()
    known = replace(known, lacks_worth=False)
    assert next_action(known, SPENT) == run(16, 32, phase=Phase.TIMING)


def test_sizes_in_doubt_race_and_then_the_answer_runs_last() -> None:
    known = progress(FLAT, knee=32, to_race=(16, 32, 128))
    assert next_action(known, SPENT) == run(16, 32, 128, phase=Phase.TIMING)
    known = progress(FLAT, knee=32)
    assert next_action(known, SPENT) == run(32, phase=Phase.CONFIRMATION)
    known = progress(FLAT, knee=32, confirmed=(32,))
    assert next_action(known, SPENT) == Finish(reason=StopReason.PLATEAU)


def test_a_final_run_that_changes_the_answer_is_followed_by_one_of_the_new_answer() -> None:
    known = progress(FLAT, knee=64, confirmed=(32,))
    assert next_action(known, SPENT) == run(64, phase=Phase.CONFIRMATION)


def test_a_final_run_that_makes_its_size_unsure_is_followed_by_a_race() -> None:
    known = progress(FLAT, knee=32, to_race=(16, 32), confirmed=(32,), risk=0.5)
    assert next_action(known, SPENT) == run(16, 32, phase=Phase.TIMING)
    known = progress(FLAT, knee=32, to_race=(16, 32), confirmed=(32,))
    assert next_action(known, SPENT) == Finish(reason=StopReason.PLATEAU)


def test_a_final_run_that_makes_throughput_rise_again_is_followed_by_a_larger_size() -> None:
    known = progress(RISING, confirmed=(128,))
    assert next_action(known, SPENT) == run(256, phase=Phase.SEARCH)


def test_a_size_that_had_its_final_run_needs_no_other_after_a_race_or_another_answer() -> None:
    known = progress(FLAT, knee=32, confirmed=(32, 64))
    assert next_action(known, SPENT) == Finish(reason=StopReason.PLATEAU)


def test_a_race_that_would_take_too_long_goes_on_without_its_largest_sizes() -> None:
    rates = {16: 960.0, 32: 990.0, 64: 1000.0, 128: 995.0}
    known = progress(rates, knee=16, to_race=(16, 32, 64, 128))
    # Racing all takes 0.91 s and the final run of 128 2.76 s; without 128, 0.53 and 2.63 s.
    for left_s, racing in ((4.0, (16, 32, 64, 128)), (3.3, (16, 32, 64)), (3.05, (16, 64))):
        time = Time(spent_s=1000.0, left_s=left_s)
        assert next_action(known, time) == run(*racing, phase=Phase.TIMING), left_s
    too_short = Time(spent_s=1000.0, left_s=2.9)
    assert next_action(known, too_short) == run(16, phase=Phase.CONFIRMATION)


def test_a_race_ends_after_six_seconds_however_long_the_search_was() -> None:
    doubtful = {"knee": 32, "to_race": (16, 32)}
    for raced_s, expected in (
        (5.6, run(16, 32, phase=Phase.TIMING)),
        (5.8, run(32, phase=Phase.CONFIRMATION)),
    ):
        known = progress(FLAT, raced_s=raced_s, **doubtful)
        assert next_action(known, Time(spent_s=1000.0)) == expected


def test_a_race_leaves_time_for_the_final_run() -> None:
    known = progress(FLAT, knee=32, to_race=(16, 32))
    enough, little = Time(spent_s=1000.0, left_s=3.0), Time(spent_s=1000.0, left_s=1.5)
    assert next_action(known, enough) == run(16, 32, phase=Phase.TIMING)
    assert next_action(known, little) == run(32, phase=Phase.CONFIRMATION)


def test_for_memory_nothing_races() -> None:
    known = progress(FLAT, goal=Goal.MEMORY, to_race=(16, 32))
    known = replace(known, trials={**known.trials, **quiet({4096: 900.0})})
    assert next_action(known, SPENT) == run(4096, phase=Phase.CONFIRMATION)


def test_a_divisor_of_the_global_batch_runs_once_before_the_final_run() -> None:
    known = progress(FLAT, knee=64, global_batch_size=1200)
    assert next_action(known, SPENT) == run(60, phase=Phase.SEARCH)
    failed = {**known.trials, 60: Trial(batch_size=60, outcome=Outcome.KILLED)}
    known = progress({16: 960.0, 32: 990.0}, knee=32, trials=failed, global_batch_size=1200)
    assert next_action(known, SPENT) == run(30, phase=Phase.SEARCH)


def test_where_timings_tell_nothing_yours_runs_last() -> None:
    known = progress(FLAT, yours=16, knee=64, risk=0.5)
    assert next_action(known, SPENT) == run(16, phase=Phase.CONFIRMATION)


def test_the_memory_limit_ends_the_climb_and_the_answer_runs_last() -> None:
    trials = {**quiet(RISING), 256: Trial(batch_size=256, outcome=Outcome.OVER_BUDGET)}
    known = progress(RISING, trials=trials)
    assert next_action(known, SPENT) == run(128, phase=Phase.CONFIRMATION)
    known = replace(known, confirmed=(128,))
    assert next_action(known, SPENT) == Finish(reason=StopReason.MEMORY)
    assert known.trials[128].peak_bytes == MIB

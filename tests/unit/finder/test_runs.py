"""Runs of one size after each other, and what becomes of them."""

from __future__ import annotations

from autobatch.finder.plans import FINAL_AGAIN_PLAN, FINAL_PLAN
from autobatch.finder.runs import Measured
from autobatch.records import Outcome, TimingRound, Trial

MIB = 2**20


def make_run(
    *num_steps: int, peaks_mib: tuple[int, ...] = (), outcome: Outcome = Outcome.FITS
) -> Measured:
    rounds = tuple(
        TimingRound(number=0, step_times_s=(0.1,) * number, data_times_s=(0.01,) * number)
        for number in num_steps
    )
    trial = Trial(
        batch_size=8,
        outcome=outcome,
        num_warmup_steps=2,
        rounds=rounds,
        peak_bytes=max(peaks_mib, default=0) * MIB,
        window_peaks_bytes=tuple(peak * MIB for peak in peaks_mib),
    )
    return Measured(trial=trial, num_steps=trial.num_steps, time_s=1.0)


def test_a_run_in_parts_stands_beside_others_as_one() -> None:
    trial = make_run(3, 4, 5, peaks_mib=(10, 11, 12)).as_first_run()
    assert [len(each.step_times_s) for each in trial.rounds] == [12]
    assert len(trial.rounds[0].data_times_s) == 12
    assert trial.window_peaks_bytes == (10 * MIB, 11 * MIB, 12 * MIB)


def test_where_steps_are_slow_the_warm_up_is_the_first_part() -> None:
    fast, slow = make_run(3, 4, 5, peaks_mib=(10, 11, 12)), make_run(1, 1, peaks_mib=(10, 11, 12))
    assert fast.to_confirmation().window_num_steps == (3, 4, 5)
    assert slow.to_confirmation().window_num_steps == (2, 1, 1)


def test_a_second_run_adds_its_steps_and_the_higher_peak() -> None:
    both = make_run(3, peaks_mib=(10,)).followed_by(make_run(4, peaks_mib=(12,)))
    assert both.trial.peak_bytes == 12 * MIB
    assert both.num_steps == 2 + 3 + 2 + 4
    assert both.time_s == 2.0


def test_a_second_run_that_fails_is_what_counts() -> None:
    both = make_run(3).followed_by(make_run(outcome=Outcome.OVER_BUDGET))
    assert both.trial.outcome is Outcome.OVER_BUDGET


def test_the_second_run_of_a_size_is_shorter() -> None:
    assert FINAL_AGAIN_PLAN.num_windows < FINAL_PLAN.num_windows
    assert FINAL_AGAIN_PLAN.is_confirmation

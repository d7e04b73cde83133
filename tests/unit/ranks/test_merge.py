"""N replies become one: no failure is blamed on a rank that only saw it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autobatch.probe.protocol import Crash, Failure, Reply, TrialReply
from autobatch.ranks.control import Cause
from autobatch.ranks.merge import (
    STOPPED,
    WAITED,
    describe_waiting,
    find_cause,
    merge_trials,
)
from autobatch.records import Outcome, RankReading, TimingRound, Trial

FITS = TrialReply(trial=Trial(batch_size=8, outcome=Outcome.FITS))
TOO_LARGE = TrialReply(
    trial=Trial(batch_size=8, outcome=Outcome.OUT_OF_MEMORY, message="too large")
)
RAISED = Failure(error="WorkloadError", message="a bug", cause="ValueError: a bug")
KILLED = Crash(outcome=Outcome.KILLED, message="ended by SIGKILL")
STOPPED_FOR_IT = Failure(error=STOPPED, message="stopped, since rank 1 did")
WAITED_FOR_IT = Failure(error=WAITED, message="it was at train.py:3 in step")
CAUSES: list[Reply] = [TOO_LARGE, RAISED, KILLED]
CONSEQUENCES: list[Reply] = [STOPPED_FOR_IT, WAITED_FOR_IT]

TIMES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=5)


def fitting(times_s: list[float], peak_bytes: int, rank: int = 0) -> Trial:
    timed = TimingRound(number=0, step_times_s=tuple(times_s), data_times_s=(0.0,) * len(times_s))
    return Trial(
        batch_size=8,
        outcome=Outcome.FITS,
        rounds=(timed,),
        peak_bytes=peak_bytes,
        ranks=(RankReading(rank=rank, peak_bytes=1, wait_s=0.5),),
    )


@given(
    cause=st.sampled_from(CAUSES),
    others=st.lists(st.sampled_from([*CONSEQUENCES, FITS]), min_size=1, max_size=5),
    data=st.data(),
)
def test_the_cause_is_never_a_rank_that_only_saw_it(
    cause: Reply, others: list[Reply], data: st.DataObject
) -> None:
    rank = data.draw(st.integers(0, len(others)))
    told = data.draw(st.none() | st.builds(Cause, st.integers(0, len(others)), st.just("why")))
    replies = [*others[:rank], cause, *others[rank:]]
    assert find_cause(replies, told) == rank


def test_of_two_causes_the_one_that_was_told_first_counts() -> None:
    assert find_cause([RAISED, KILLED], Cause(1, "ended")) == 1
    assert find_cause([RAISED, KILLED], Cause(0, "a bug")) == 0
    assert find_cause([RAISED, KILLED], None) == 0


def test_all_fit_without_a_cause() -> None:
    assert find_cause([FITS, FITS], None) is None


def test_where_all_wait_the_time_is_up_and_all_are_named() -> None:
    replies: list[Reply] = [STOPPED_FOR_IT, WAITED_FOR_IT]
    assert find_cause(replies, None) == 1
    trial = describe_waiting([WAITED_FOR_IT, WAITED_FOR_IT], 4.0)
    assert trial.outcome is Outcome.TIMED_OUT
    assert "rank 0: it was at train.py:3" in trial.message
    assert "rank 1: it was at train.py:3" in trial.message


@given(st.lists(st.tuples(st.integers(1, 2**40), st.floats(1e-6, 1e3)), min_size=2, max_size=5))
def test_memory_is_the_largest_and_a_step_ends_with_the_slowest(
    ranks: list[tuple[int, float]],
) -> None:
    trials = [fitting([time_s, 2 * time_s], peak) for peak, time_s in ranks]
    merged = merge_trials(trials)
    slowest_s = max(time_s for _, time_s in ranks)
    assert merged.peak_bytes == max(peak for peak, _ in ranks)
    assert merged.step_times_s == (slowest_s, 2 * slowest_s)


def test_each_rank_keeps_its_reading_with_the_peak_that_its_worker_saw() -> None:
    merged = merge_trials([fitting([1.0], 10), fitting([1.0], 20, rank=1)])
    assert merged.ranks == (
        RankReading(rank=0, peak_bytes=10, wait_s=0.5),
        RankReading(rank=1, peak_bytes=20, wait_s=0.5),
    )


@pytest.mark.parametrize(
    ("each", "all_"),
    [((True, True), True), ((True, False), False), ((None, False), False), ((None, True), None)],
)
def test_evaluation_fits_if_it_does_on_every_rank(
    each: tuple[bool | None, bool | None], all_: bool | None
) -> None:
    trials = [replace(fitting([1.0], 1), eval_fits=fits) for fits in each]
    assert merge_trials(trials).eval_fits is all_


def test_other_ranks_are_no_foreign_load() -> None:
    trials = [replace(fitting([1.0], 1), others_busy_cores=1.9) for _ in range(2)]
    assert merge_trials(trials).others_busy_cores is None


def test_a_loss_that_is_not_finite_on_one_rank_is_told() -> None:
    trials = [fitting([1.0], 1), replace(fitting([1.0], 1), loss_is_finite=False)]
    assert not merge_trials(trials).loss_is_finite

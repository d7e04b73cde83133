"""All ranks run the same steps, and a failure is told before anything else is done about it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from torch.distributed import Store

from autobatch.ranks.control import Control, PeerFailed, find_first_failure, tell_gone
from autobatch.ranks.room import Room, is_hearsay
from autobatch.records import Outcome, Trial

On = Callable[..., list[Any]]


def test_all_ranks_run_as_many_steps_whatever_each_would(store: Store, on_ranks: On) -> None:
    def run(rank: int) -> list[int]:
        room, wishes = Room(Control(store, rank, 1, 1)), random.Random(rank)
        counts = []
        for _ in range(5):
            count, wanted = 0, wishes.randrange(1, 200)
            while room.go_on(count < wanted):
                count += 1
            counts.append(count)
            assert room.agree(rank) == 0
        return counts

    counts = on_ranks(run, 3)
    assert counts[0] == counts[1] == counts[2]
    assert len(set(counts[0])) > 1


def test_rank_0_gets_what_it_wants_and_little_more(store: Store) -> None:
    now = [0.0]
    room = Room(Control(store, 0, 1, 1), clock=lambda: now[0])
    count = 0
    while room.go_on(count < 100):
        count, now[0] = count + 1, now[0] + 0.001
    # It decides at most 50 ms ahead.
    assert 100 <= count < 150


def test_slow_steps_are_decided_one_by_one(store: Store) -> None:
    now = [0.0]
    room = Room(Control(store, 0, 1, 1), clock=lambda: now[0])
    count = 0
    while room.go_on(count < 7):
        count, now[0] = count + 1, now[0] + 1.0
    assert count == 7


def test_an_exception_is_told_to_the_others_and_the_leader(store: Store) -> None:
    room = Room(Control(store, 1, 7, 1))
    with pytest.raises(MemoryError), room.training():
        raise MemoryError("too large")
    for cause in (Control(store, 0, 7, 1).find_failure(), find_first_failure(store, 7)):
        assert cause == (1, "MemoryError: too large")
    assert Control(store, 0, 7, 2).find_failure() is None
    assert find_first_failure(store, 8) is None


def test_only_the_first_failure_is_heard(store: Store) -> None:
    Control(store, 1, 7, 1).fail("first")
    Control(store, 0, 7, 1).fail("second")
    assert Control(store, 0, 7, 1).find_failure() == (1, "first")


def test_a_connection_that_closed_is_the_fault_of_the_rank_that_failed(store: Store) -> None:
    Control(store, 1, 7, 1).fail("ended by SIGKILL")
    room = Room(Control(store, 0, 7, 1))
    with pytest.raises(PeerFailed, match="rank 1 did: ended by SIGKILL"), room.training():
        raise RuntimeError("[/pytorch/third_party/gloo/pair.cc] Connection closed by peer [::1]")
    assert find_first_failure(store, 7) == (1, "ended by SIGKILL")


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (PeerFailed("rank 1"), True),
        (RuntimeError("Connection reset by peer"), True),
        (ValueError("Connection reset by peer"), False),
        (RuntimeError("shapes do not match"), False),
        (MemoryError(), False),
    ],
)
def test_hearsay_is_told_from_what_a_rank_did_itself(error: Exception, is_it: bool) -> None:
    assert is_hearsay(error) is is_it


def test_an_evaluation_that_fails_does_not_end_the_trial(store: Store) -> None:
    room = Room(Control(store, 1, 7, 1))
    with pytest.raises(MemoryError), room.careful("evaluation"):
        raise MemoryError
    assert find_first_failure(store, 7) is None
    assert Control(store, 0, 7, 1).find_failure() is None
    assert Control(store, 0, 7, 1).find_failure("evaluation") is not None


def test_a_trial_over_its_budget_is_told(store: Store) -> None:
    room = Room(Control(store, 1, 7, 1))
    trial = Trial(batch_size=8, outcome=Outcome.OVER_BUDGET, peak_bytes=5, message="over")
    assert room.complete(trial).ranks[0].rank == 1
    assert find_first_failure(store, 7) == (1, "over")


def test_who_waits_for_all_hears_of_a_worker_that_is_gone(store: Store, on_ranks: On) -> None:
    def gather(rank: int) -> Any:
        if rank == 1:
            return tell_gone(store, 1, "its worker ended")
        return Control(store, rank, 1, 1).gather("here", 2)

    assert "rank 1 did: its worker ended" in str(on_ranks(gather)[0])


def test_a_rank_that_gives_up_a_request_stops_all_that_is_done_for_it(store: Store) -> None:
    Control(store, 1, 7, 0).give_up("a bug in the target")
    assert Control(store, 0, 7, 3).find_failure() == (1, "a bug in the target")
    assert Control(store, 0, 8, 1).find_failure() is None


def test_what_all_say_is_heard_by_all(store: Store, on_ranks: On) -> None:
    said = on_ranks(lambda rank: Control(store, rank, 1, 1).gather(str(rank), 3), 3)
    assert said == [["0", "1", "2"]] * 3

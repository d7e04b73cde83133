"""A rank whose process or machine is gone is noticed by those that wait for it."""

from __future__ import annotations

import pytest
from torch.distributed import Store

from autobatch.errors import WorkerError
from autobatch.ranks.pulse import Pulse


class Clock:
    """Seconds that a test sets."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_ranks_that_live_are_not_silent(store: Store, clock: Clock) -> None:
    leader = Pulse(store, 0, [1], 20.0, clock)
    follower = Pulse(store, 1, [0], 60.0, clock)
    for second in range(300):
        clock.now_s = float(second)
        follower.require_all()
        leader.require_all()


def test_a_rank_that_has_told_nothing_for_too_long_is_named(store: Store, clock: Clock) -> None:
    leader, third = Pulse(store, 0, [1, 2], 20.0, clock), Pulse(store, 2, [0], 60.0, clock)
    for second in range(22):
        clock.now_s = float(second)
        silent = leader.beat()
        third.beat()
        assert silent == ([1] if second > 20 else [])
    with pytest.raises(WorkerError, match="rank 1 has told nothing for 20 s"):
        leader.require_all()


def test_one_that_was_slow_and_tells_again_is_there(store: Store, clock: Clock) -> None:
    leader, follower = Pulse(store, 0, [1], 20.0, clock), Pulse(store, 1, [0], 60.0, clock)
    leader.beat()
    clock.now_s = 19.0
    follower.beat()
    clock.now_s = 30.0
    assert leader.beat() == []


def test_it_is_told_once_in_a_second_however_often_a_rank_looks(store: Store, clock: Clock) -> None:
    pulse = Pulse(store, 1, [], 20.0, clock)
    for _ in range(100):
        clock.now_s += 0.0102
        pulse.beat()
    assert store.add("pulse/1", 0) == 2

"""Either all ranks of a group enter a collective, or none does."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.distributed import Store

from autobatch.ranks.control import Control, PeerFailed
from autobatch.ranks.gate import Exchanged, Gate

On = Callable[..., list[Any]]


def test_ranks_that_all_come_pass(store: Store, on_ranks: On) -> None:
    def come(rank: int) -> str:
        gate = Gate(Control(store, rank, 1, 1))
        for _ in range(20):
            gate.pass_through("0", 3, "allreduce_")
        return "passed"

    assert on_ranks(come, 3) == ["passed"] * 3


def test_a_rank_waits_for_one_that_comes_later(store: Store, on_ranks: On) -> None:
    def come(rank: int) -> float:
        gate = Gate(Control(store, rank, 1, 1))
        time.sleep(0.1 * rank)
        gate.pass_through("0", 2, "allreduce_")
        return gate.exchanged.wait_s

    early_s, late_s = on_ranks(come)
    assert early_s > 0.05 > late_s


def test_a_rank_that_failed_before_it_lets_nobody_in(store: Store, on_ranks: On) -> None:
    def come(rank: int) -> None:
        control = Control(store, rank, 1, 1)
        if rank == 1:
            control.fail("MemoryError: too large")
        else:
            Gate(control).pass_through("0", 2, "allreduce_")

    raised = on_ranks(come)[0]
    assert isinstance(raised, PeerFailed)
    assert "rank 1 did: MemoryError: too large" in str(raised)
    assert "allreduce_" in str(raised)


def test_collectives_are_counted_by_kind_with_the_larger_of_what_goes_in_and_out() -> None:
    shard, whole = torch.zeros(25), torch.zeros(100)
    exchanged = Exchanged()
    exchanged.add("allreduce_", ([whole], "group"))
    exchanged.add("_allgather_base_", (whole, shard, "group"))
    exchanged.add("_reduce_scatter_base_", (shard, whole, "group"))
    exchanged.add("all_reduce", (shard, "sum", "0"))
    exchanged.add("barrier", (torch.zeros(0), "group"))
    counted = [(each.collective, each.num_calls, each.num_bytes) for each in exchanged.by_kind()]
    assert counted == [
        ("all-reduce", 2, 500), ("all-gather", 1, 400), ("reduce-scatter", 1, 400),
        ("barrier", 1, 0),
    ]  # fmt: skip


class PausedStore:
    """A store in which a rank waits before a call until it may go on."""

    def __init__(self, store: Store, calls: Callable[[str], None]) -> None:
        self._store, self._calls = store, calls

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._store, name)

        def call(*arguments: Any) -> Any:
            self._calls(name)
            return function(*arguments)

        return call


@pytest.mark.parametrize("order", sorted(set(itertools.permutations("000111"))))
def test_in_every_order_of_their_calls_both_enter_or_none(
    order: tuple[str, ...], store: Store, on_ranks: On
) -> None:
    """Rank 1 comes, passes and fails at once; rank 0 may see the failure before the count."""
    turns = iter(order)
    now = [next(turns)]
    changed = threading.Condition()

    def wait_for_turn(rank: int) -> Callable[[str], None]:
        def wait(name: str) -> None:
            with changed:
                changed.wait_for(lambda: now[0] in (str(rank), "anyone"), timeout=0.05)
                now[0] = next(turns, "anyone")
                changed.notify_all()

        return wait

    entered: list[int] = []

    def come(rank: int) -> None:
        control = Control(store, rank, 1, 1)
        gate = Gate(control)
        control.store = PausedStore(control.store, wait_for_turn(rank))  # type: ignore[assignment]
        gate.pass_through("0", 2, "allreduce_")
        entered.append(rank)
        if rank == 1:
            control.fail("ValueError: behind the gate")

    on_ranks(come)
    assert sorted(entered) in ([], [0, 1])


def test_a_part_of_its_own_fails_by_itself(store: Store, on_ranks: On) -> None:
    def come(rank: int) -> None:
        control = Control(store, rank, 1, 1)
        if rank == 1:
            control.fail("MemoryError: too large", "evaluation")
        else:
            Gate(control, "evaluation").pass_through("0", 2, "allreduce_")

    assert isinstance(on_ranks(come)[0], PeerFailed)
    assert Control(store, 0, 1, 1).find_failure() is None

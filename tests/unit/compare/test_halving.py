"""Successive halving: which sizes go on, and for how long."""

from __future__ import annotations

import math

import pytest

from autobatch.compare.halving import find_survivors, plan_rounds


@pytest.mark.parametrize(
    ("num_sizes", "num_epochs", "rounds"),
    [
        (8, 16, (4, 8, 16)),
        (4, 10, (5, 10)),
        (2, 10, (10,)),
        (1, 10, (10,)),
        (5, 16, (4, 8, 16)),
        (8, 2, (1, 2)),
        (64, 1, (1,)),
    ],
)
def test_rounds_double_and_end_at_the_whole(
    num_sizes: int, num_epochs: int, rounds: tuple[int, ...]
) -> None:
    assert plan_rounds(num_sizes, num_epochs) == rounds


def test_eight_sizes_cost_less_than_half_of_training_all() -> None:
    alive, spent, done = 8, 0, 0
    for end in plan_rounds(8, 16):
        spent += alive * (end - done)
        alive, done = math.ceil(alive / 2), end
    assert spent == 8 * 4 + 4 * 4 + 2 * 8
    assert spent < 8 * 16 / 1.9


def test_the_better_half_goes_on_rounded_up() -> None:
    assert find_survivors({1: 0.5, 2: 0.1, 4: 0.3, 8: 0.9}) == (2, 4)
    assert find_survivors({1: 0.5, 2: 0.1, 4: 0.3}) == (2, 4)
    assert find_survivors({1: 0.5}) == (1,)


def test_a_size_without_a_loss_is_the_worst() -> None:
    assert find_survivors({1: None, 2: math.nan, 4: 1e9, 8: 1e10}) == (4, 8)

"""Who is timed again, and who of them takes part in a round."""

from __future__ import annotations

import numpy as np
import pytest

from autobatch.decide.race import find_contestants, share_out
from autobatch.decide.rates import Rates


def rates_of(shares: dict[int, float], *, error: float) -> Rates:
    """Rates as shares of the best, each with an error of its own."""
    logs = np.log(list(shares.values()))
    return Rates(tuple(shares), logs, np.eye(len(shares)) * (error / 2**0.5) ** 2)


def test_a_size_near_the_threshold_is_in_doubt() -> None:
    rates = rates_of({8: 0.5, 16: 0.94, 32: 0.98, 64: 1.0}, error=0.03)
    assert find_contestants(rates, knee=32, tolerance_fraction=0.05) == (16, 32, 64)


def test_a_ratio_that_is_known_well_is_in_doubt_no_more() -> None:
    rates = rates_of({8: 0.5, 16: 0.949, 32: 0.98, 64: 1.0}, error=0.012)
    assert find_contestants(rates, knee=32, tolerance_fraction=0.05) == ()


def test_a_larger_size_that_might_be_much_faster_is_in_doubt() -> None:
    rates = rates_of({16: 0.96, 32: 0.97, 64: 1.0}, error=0.04)
    assert 64 in find_contestants(rates, knee=16, tolerance_fraction=0.05)


def test_all_take_part_in_the_first_round() -> None:
    assert share_out([8, 16, 128], {}) == (8, 16, 128)


def test_who_costs_much_sits_out_until_the_others_had_their_share() -> None:
    spent_s = {8: 0.5, 16: 0.7, 128: 5.0}
    assert share_out([8, 16, 128], spent_s) == (8, 16)
    assert share_out([8, 16, 128], {**spent_s, 8: 1.3, 16: 2.1}) == (8, 16, 128)


def test_two_take_part_whatever_they_cost() -> None:
    assert share_out([8, 128], {8: 0.5, 128: 50.0}) == (8, 128)


@pytest.mark.parametrize("num_rounds", [40])
def test_times_stay_within_reach_of_each_other(num_rounds: int) -> None:
    cost_s, spent_s = {8: 0.2, 16: 0.3, 128: 4.0}, {8: 0.0, 16: 0.0, 128: 0.0}
    for _ in range(num_rounds):
        for size in share_out(list(cost_s), spent_s):
            spent_s[size] += cost_s[size]
    assert max(spent_s.values()) <= 4 * min(spent_s.values()) + max(cost_s.values())

"""Which sizes are timed again before the one with the highest goodput is taken."""

from __future__ import annotations

import numpy as np

from autobatch.decide.race import find_challengers
from autobatch.decide.rates import Rates


def rates(logs: list[float], error: float) -> Rates:
    sizes = tuple(2**index for index in range(len(logs)))
    return Rates(sizes, np.array(logs), error**2 * np.eye(len(logs)))


def test_where_all_is_known_well_nothing_is_timed_again() -> None:
    assert find_challengers(rates([0.0, 0.3, 0.29, 0.1], 0.001), tolerance_fraction=0.05) == ()


def test_only_what_might_be_better_by_more_than_the_tolerance_is() -> None:
    # The error of a ratio is 0.07: a size 0.05 below the best might be 0.05 above it.
    found = find_challengers(rates([-1.0, 0.3, 0.25, 0.1], 0.05), tolerance_fraction=0.05)
    assert found == (2, 4)


def test_at_most_six_are_timed_and_the_best_among_them() -> None:
    logs = [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07]
    found = find_challengers(rates(logs, 0.5), tolerance_fraction=0.05)
    assert found == (4, 8, 16, 32, 64, 128)

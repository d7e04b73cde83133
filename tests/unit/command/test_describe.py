from __future__ import annotations

from typing import Any

import pytest

from autobatch.command.describe import find_base_rate, with_rate


def optimizer(rate: float | None, initial: float | None = None) -> list[Any]:
    return ["optimizer", 0, "SGD", 100, rate, initial, "cpu"]


@pytest.mark.parametrize(
    ("rate", "initial", "rates", "base"),
    [
        (0.1, None, (0.1, 0.1), 0.1),
        (0.0, 2e-5, (0.0, 1e-6), 2e-5),  # a scheduler's warm-up
        (9.9e-6, None, (9.9e-6, 2e-5), None),  # a schedule by hand
        (None, None, (), None),  # a tensor
    ],
)
def test_the_rate_is_the_one_before_any_schedule(
    rate: float | None, initial: float | None, rates: tuple[float, ...], base: float | None
) -> None:
    assert find_base_rate([optimizer(rate, initial)], rates) == base


def test_without_an_optimizer_there_is_no_rate() -> None:
    assert find_base_rate([], ()) is None


def test_an_argument_that_holds_the_rate_gets_the_new_one() -> None:
    arguments = ("t.py", "--lr", "0.1", "--optim.lr=1e-1", "--momentum", "0.1", "learning_rate=0.1")
    assert with_rate(arguments, 0.1, 0.4) == (
        *("t.py", "--lr", "0.4", "--optim.lr=0.4", "--momentum", "0.1", "learning_rate=0.4"),
    )
    assert with_rate(arguments, 0.2, 0.4) == arguments

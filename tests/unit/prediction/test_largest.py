"""The largest size that fits, in few tries."""

from __future__ import annotations

import pytest

from autobatch.prediction.largest import find_largest


@pytest.mark.parametrize("guess", [-5, 1, 2, 70, 99, 100, 101, 1000, 10**6])
@pytest.mark.parametrize("largest", [0, 1, 2, 3, 100, 12345])
def test_the_largest_size_is_found_from_any_guess(largest: int, guess: int) -> None:
    assert find_largest(lambda size: size <= largest, guess) == largest


def test_a_guess_that_is_near_needs_few_tries() -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= 1000

    find_largest(fits, 1010)
    assert len(tried) <= 7


def test_what_never_ends_ends() -> None:
    assert find_largest(lambda size: True, 8) >= 2**20 - 1

"""Which size to train with, and why."""

from __future__ import annotations

import pytest
from fixtures.timings import decided

from autobatch.decide.choice import choose, find_exact_size, largest_divisor
from autobatch.decide.decision import Decision
from autobatch.records import Goal, Settings

RATES = {8: 500.0, 16: 940.0, 32: 960.0, 64: 980.0, 128: 1000.0}


def chosen(decision: Decision, **fields: object) -> tuple[int, str]:
    settings = Settings(**fields)  # type: ignore[arg-type]
    choice = choose(settings, decision, list(RATES))
    return choice.batch_size, choice.reason


def test_for_memory_it_is_the_largest_that_fitted() -> None:
    size, reason = chosen(decided(RATES, knee=32, risk=1.0), goal=Goal.MEMORY)
    assert (size, reason) == (128, "the largest size that ran inside the memory budget")


def test_for_throughput_it_is_the_knee_and_the_tolerance_is_said() -> None:
    size, reason = chosen(decided(RATES, knee=32))
    assert (size, reason) == (32, "the smallest size within 5 % of the best throughput")


def test_yours_is_kept_where_it_is_within_the_tolerance() -> None:
    size, reason = chosen(decided(RATES, knee=32, your_batch_size=64))
    assert (size, reason) == (64, "yours, and within 5 % of the best throughput")
    size, reason = chosen(decided(RATES, knee=32, your_batch_size=32))
    assert (size, reason) == (32, "the smallest size within 5 % of the best throughput")


@pytest.mark.parametrize(
    ("yours", "fallback", "whose"),
    [
        (16, 16, "16 is yours"),
        (None, 32, "32 is a common choice"),
        (24, 16, "16 is a common choice"),
    ],
)
def test_where_sizes_cannot_be_told_apart_it_is_yours_or_a_usual_one(
    yours: int | None, fallback: int, whose: str
) -> None:
    size, reason = chosen(decided(RATES, risk=0.11, your_batch_size=yours))
    assert size == fallback
    assert reason == f"timings scatter too much to tell sizes apart, and {whose}"
    assert chosen(decided(RATES, risk=0.09))[0] == 128


def test_where_nothing_as_small_as_the_usual_size_fitted_the_answer_stands() -> None:
    decision = decided({64: 980.0, 128: 1000.0}, risk=0.5)
    assert choose(Settings(), decision, (64, 128)).batch_size == 128


def test_where_a_sample_has_a_worth_the_highest_product_is_taken_and_said() -> None:
    decision = decided(RATES, risk=0.5, worth=lambda size: 1 / size, worth_reason="by worth")
    assert chosen(decision, goal=Goal.EFFICIENCY) == (8, "by worth")


def test_where_that_is_asked_and_not_known_the_knee_is_taken_and_it_is_said() -> None:
    size, reason = chosen(decided(RATES, knee=32), goal=Goal.EFFICIENCY)
    assert size == 32
    assert reason.endswith("of the best throughput; what its samples are worth is not known")


@pytest.mark.parametrize(
    ("global_batch_size", "num_devices", "size", "exact"),
    [(None, 1, 64, None), (256, 1, 64, None), (100, 1, 64, 50), (200, 2, 64, 50), (97, 1, 64, 1)],
)
def test_a_size_that_divides_the_global_batch_is_looked_for(
    global_batch_size: int | None, num_devices: int, size: int, exact: int | None
) -> None:
    asked = Settings(global_batch_size=global_batch_size, num_devices=num_devices)
    assert find_exact_size(asked, size) == exact


def test_for_memory_no_divisor_is_looked_for() -> None:
    assert find_exact_size(Settings(goal=Goal.MEMORY, global_batch_size=100), 64) is None


@pytest.mark.parametrize(
    ("rate", "size"), [(990.0, 50), (955.0, 50), (945.0, 64)], ids=["as fast", "within", "slower"]
)
def test_the_divisor_is_taken_where_it_is_about_as_fast(rate: float, size: int) -> None:
    rates = {32: 500.0, 50: rate, 64: 1000.0}
    settings = Settings(global_batch_size=100)
    choice = choose(settings, decided(rates), list(rates))
    assert choice.batch_size == size
    assert ("divides the global batch of 100" in choice.reason) is (size == 50)


def test_a_divisor_that_did_not_fit_is_not_taken() -> None:
    rates = {32: 500.0, 50: 1000.0, 64: 1000.0}
    decision = decided(rates, knee=64)
    assert choose(Settings(global_batch_size=100), decision, (32, 64)).batch_size == 64


@pytest.mark.parametrize(
    ("share", "at_most", "divisor"), [(100, 64, 50), (64, 64, 64), (97, 96, 1), (12, 100, 12)]
)
def test_the_largest_divisor_is_found(share: int, at_most: int, divisor: int) -> None:
    assert largest_divisor(share, at_most) == divisor

"""When to stop climbing: each rule at its threshold, and what keeps all of them back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from fixtures.timings import affine, asked, decided, line, quiet

from autobatch.decide.decision import decide
from autobatch.decide.stop import Flat, NothingAhead, has_levelled_off


def is_flat(rates: Mapping[int, float], *, with_curve: bool = True) -> bool:
    decision = decide(quiet(rates), asked())
    return has_levelled_off(decision if with_curve else replace(decision, curve=None))


@pytest.mark.parametrize(
    ("gain", "largest_rate", "applies"),
    [(0.5, 102.4, True), (0.5, 102.6, False), (1.0, 104.9, True), (1.0, 105.1, False)],
)
def test_flat_is_a_gain_below_its_share_of_the_tolerance_over_two_doublings(
    gain: float, largest_rate: float, applies: bool
) -> None:
    decision = decided({8: 90.0, 16: 100.0, 32: 101.0, 64: largest_rate})
    assert Flat(gain=gain).applies(decision) is applies


def test_flat_counts_the_best_of_both_doublings() -> None:
    assert not Flat(gain=0.5).applies(decided({16: 100.0, 32: 110.0, 64: 100.0}))


def test_flat_needs_two_doublings() -> None:
    assert not Flat(gain=0.5).applies(decided({32: 100.0, 64: 100.0}))
    assert not Flat(gain=0.5).applies(decided({17: 100.0, 32: 100.0, 64: 100.0}))


@pytest.mark.parametrize(("latency_share", "applies"), [(0.009, True), (0.0115, False)])
def test_nothing_ahead_is_a_promise_below_its_share_of_the_tolerance(
    latency_share: float, applies: bool
) -> None:
    # The latency is this share of the rest of a step of 64: so much is left to gain.
    curve = line(latency_share * 64 * 1e-3, 1e-3)
    decision = decided({32: 990.0, 64: 1000.0}, curve=curve)
    assert NothingAhead(gain=0.2, doublings=6).applies(decision) is applies


@pytest.mark.parametrize(("doublings", "applies"), [(1, True), (2, False)])
def test_nothing_ahead_looks_no_farther_than_it_is_told(doublings: int, applies: bool) -> None:
    decision = decided({32: 990.0, 64: 1000.0}, curve=line(0.0175 * 64 * 1e-3, 1e-3))
    assert NothingAhead(gain=0.2, doublings=doublings).applies(decision) is applies


def test_nothing_ahead_trusts_no_curve_that_is_poor() -> None:
    rule = NothingAhead(gain=0.2, doublings=6)
    assert rule.applies(decided({32: 990.0, 64: 1000.0}, curve=line(0.0, 1e-3)))
    assert not rule.applies(decided({32: 990.0, 64: 1000.0}, curve=line(0, 1e-3, is_good=False)))
    assert not rule.applies(decided({32: 990.0, 64: 1000.0}))


def test_nothing_ahead_holds_the_promise_against_the_best_behind() -> None:
    falling = line(0.0, 1e-3, late_per_sample_s=1e-3, late_from=16.0)
    decision = decided({16: 1000.0, 32: 600.0, 64: 550.0}, curve=falling)
    assert NothingAhead(gain=0.0, doublings=6).applies(decision)


def test_growing_throughput_is_no_plateau() -> None:
    assert not is_flat(affine(0.05, 0.01, 32))


@pytest.mark.parametrize("with_curve", [True, False])
def test_two_flat_doublings_are(with_curve: bool) -> None:
    assert is_flat(affine(0.001, 0.01, 64), with_curve=with_curve)


def test_a_gain_within_the_tolerance_is_enough_where_the_curve_promises_no_more() -> None:
    gained = affine(0.0062, 0.01, 64)  # 2.8 % from 16 to 64, and 1 % beyond
    assert 1.025 < gained[64] / gained[16] < 1.05
    assert is_flat(gained)
    assert not is_flat(gained, with_curve=False)


def test_a_flat_stretch_is_climbed_over_where_the_curve_promises_a_gain_behind_it() -> None:
    rates = {16: 100.0, 32: 100.0, 64: 100.0}
    promising = line(0.064, 1e-2)
    assert has_levelled_off(decided(rates))
    assert not has_levelled_off(decided(rates, curve=promising))
    assert has_levelled_off(decided(rates, curve=replace(promising, is_good=False)))


def test_one_size_is_no_plateau() -> None:
    assert not has_levelled_off(decided({64: 100.0}))


def test_nothing_stops_a_climb_while_the_last_doubling_gained() -> None:
    fallen = {16: 100.0, 32: 60.0}
    assert has_levelled_off(decided({**fallen, 64: 62.0}))
    assert Flat(gain=0.5).applies(decided({**fallen, 64: 64.0}))
    assert not has_levelled_off(decided({**fallen, 64: 64.0}))


def test_below_32_samples_nothing_is_said() -> None:
    odd_start = {4: 900.0, 8: 500.0, 16: 400.0}
    assert not has_levelled_off(decided(odd_start))
    assert has_levelled_off(decided({2 * size: rate for size, rate in odd_start.items()}))

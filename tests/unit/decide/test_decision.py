"""What the trials that fitted say: the knee, the answer, what is in doubt and how sure it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from fixtures.timings import affine, asked, decided, noisy, quiet, rates_of, timed
from hypothesis import given, settings
from hypothesis import strategies as st

from autobatch.decide.action import Progress
from autobatch.decide.decision import Decision, decide
from autobatch.decide.grid import make_grid
from autobatch.decide.numbers import NUMBERS
from autobatch.decide.step import Rules
from autobatch.records import Confidence, Doubt, Goal, Outcome, Settings, Trial

RISING = {8: 500.0, 16: 940.0, 32: 960.0, 64: 980.0, 128: 1000.0}


def decided_from(rates: Mapping[int, float], **fields: object) -> Decision:
    """The decision of a machine where each size ran often, and the same each time."""
    medians = {size: size / rate for size, rate in rates.items()}
    trials = {size: timed(size, dict.fromkeys(range(4), each)) for size, each in medians.items()}
    return decide(trials, asked(**fields))


@pytest.mark.parametrize(("tolerance", "knee"), [(0.05, 32), (0.1, 16), (0.0, 128), (0.6, 8)])
def test_the_knee_is_the_smallest_size_within_the_tolerance_of_the_best(
    tolerance: float, knee: int
) -> None:
    assert decided_from(RISING, tolerance_fraction=tolerance).knee == knee


def test_the_knee_is_not_past_the_top_of_a_throughput_that_falls() -> None:
    assert decided_from({4: 100.0, 8: 500.0, 16: 1000.0, 32: 700.0, 64: 400.0}).knee == 16


def test_a_size_that_is_estimated_within_the_tolerance_and_may_well_not_be_is_no_knee() -> None:
    trials = noisy({16: 951.0, 32: 990.0, 64: 1000.0}, noise=0.03, num_rounds=6, seed=0)
    decision = decide(trials, asked())
    assert decision.is_within(16)
    assert 0.5 < decision.within[16] < NUMBERS.likely < decision.within[32]
    assert decision.knee == 32
    surer = replace(NUMBERS, likely=0.5)
    assert decide(trials, asked(numbers=surer)).knee == 16


def test_a_single_size_is_the_knee() -> None:
    decision = decide(quiet({1: 100.0}), asked())
    assert (decision.knee, decision.answer, decision.candidates) == (1, 1, (1,))
    assert decision.curve is None
    assert decision.to_race == ()


@pytest.mark.parametrize(("yours", "answer"), [(64, 64), (128, 128), (32, 32), (16, 32), (7, 32)])
def test_a_tie_goes_to_the_users_size(yours: int, answer: int) -> None:
    decision = decided_from(RISING, your_batch_size=yours)
    assert decision.knee == 32
    assert decision.answer == answer


def test_a_size_that_was_not_timed_is_not_within_the_tolerance() -> None:
    decision = decided_from(RISING)
    assert decision.is_within(128)
    assert not decision.is_within(16)
    assert not decision.is_within(256)


def test_where_samples_are_worth_less_in_large_batches_the_highest_product_is_the_answer() -> None:
    decision = decided_from(RISING, your_batch_size=128, worth=lambda size: 100 / (100 + size))
    assert decision.answer == 16
    assert decision.knee == 32


def test_on_a_quiet_device_there_is_one_candidate_and_no_risk() -> None:
    decision = decided_from(RISING)
    assert decision.candidates == (32,)
    assert decision.to_race == ()
    assert decision.right[32] > 0.99
    assert decision.risk[32] < 0.01 < 0.99 < decision.risk[8]
    assert decision.is_sure_of(32)
    assert not decision.is_sure_of(8)
    assert not decision.is_sure_of(4096)


def test_sizes_that_cannot_be_told_apart_are_all_candidates_and_race() -> None:
    rates = {8: 500.0, 16: 955.0, 32: 960.0, 64: 980.0, 128: 1000.0}
    decision = decide(noisy(rates, noise=0.05), asked())
    assert len(decision.candidates) > 1
    assert sum(decision.right.values()) == pytest.approx(1)
    assert {decision.knee, decision.rates.best()} <= set(decision.to_race)
    assert list(decision.to_race) == sorted(decision.to_race)


def test_a_size_on_the_threshold_whose_ratio_is_known_well_is_in_doubt_no_more() -> None:
    on_it = {8: 500.0, 16: 950.0, 32: 980.0, 64: 1000.0}
    vague = decide(noisy(on_it, noise=0.03, num_rounds=2, seed=1), asked())
    known = decided_from(on_it)
    assert 16 in vague.to_race
    assert known.rates.log_ratio(16, 64)[1] < NUMBERS.close_enough * 0.05
    assert known.to_race == ()


def test_of_what_samples_are_worth_only_a_size_that_might_win_by_the_tolerance_races() -> None:
    rates = {16: 500.0, 32: 950.0, 64: 1000.0, 128: 1000.0}
    trials = noisy(rates, noise=0.05, num_rounds=1, seed=1)
    decision = decide(trials, asked(worth=lambda size: 1.0 if size <= 64 else 0.5))
    assert 128 not in decision.to_race
    assert 16 not in decision.to_race
    assert decision.to_race == (32, 64)
    assert decided_from(rates, worth=lambda size: 1.0).to_race == ()


@pytest.mark.parametrize(
    ("rates", "is_rising"),
    [
        ({8: 100.0}, True),
        ({8: 100.0, 16: 106.0}, True),
        ({8: 100.0, 16: 104.0}, False),
        ({8: 100.0, 16: 60.0, 32: 90.0}, False),
    ],
)
def test_throughput_rises_while_the_last_size_beats_all_before(
    rates: Mapping[int, float], is_rising: bool
) -> None:
    assert decided(rates).is_rising is is_rising


@pytest.mark.parametrize(("error", "may_rise"), [(0.005, False), (0.02, True)])
def test_it_may_rise_while_its_error_allows_it(error: float, may_rise: bool) -> None:
    assert decided({8: 100.0, 16: 104.0}, error=error).may_rise is may_rise


@pytest.mark.parametrize("outcome", [Outcome.OVER_BUDGET, Outcome.OUT_OF_MEMORY, Outcome.KILLED])
def test_a_trial_that_failed_changes_neither_curve_nor_decision(outcome: Outcome) -> None:
    trials = quiet(affine(4e-3, 1e-4, 256))
    slow = replace(timed(512, {0: 10.0}), outcome=outcome)
    before, after = (
        Progress(settings=Settings(), rules=RULES, trials=each)
        for each in (trials, {**trials, 512: slow})
    )
    assert before.fitting == after.fitting == tuple(trials)
    decisions = [
        decide({size: each.trials[size] for size in each.fitting}, asked())
        for each in (before, after)
    ]
    assert decisions[0].curve == decisions[1].curve
    assert decisions[0].knee == decisions[1].knee
    assert decisions[0].right == decisions[1].right


def test_a_size_above_one_that_failed_counts_no_more() -> None:
    trials = quiet(affine(4e-3, 1e-4, 256))
    trials[64] = Trial(batch_size=64, outcome=Outcome.OUT_OF_MEMORY)
    progress = Progress(settings=Settings(), rules=RULES, trials=trials)
    assert max(progress.fitting) == 32


def test_the_record_holds_each_estimate_with_its_interval() -> None:
    decision = decided(RISING, error=0.02, knee=32)
    trials = quiet(RISING)
    record = decision.to_record(32, trials)
    by_size = {each.batch_size: each for each in record.estimates}
    assert by_size[16].samples_per_s == pytest.approx(940)
    assert by_size[16].vs_best_fraction == pytest.approx(0.94)
    assert by_size[16].low < 940 < by_size[16].high
    assert by_size[16].vs_best_high / 0.94 == pytest.approx(math.exp(1.645 * 0.02), rel=1e-3)
    assert by_size[128].vs_best_low == by_size[128].vs_best_high == 1
    assert by_size[16].num_steps == len(trials[16].step_times_s)
    assert record.candidates == (32,)


@pytest.mark.parametrize(
    ("risk", "goal", "doubts", "expected"),
    [
        (0.09, Goal.THROUGHPUT, (), ()),
        (0.11, Goal.THROUGHPUT, (), (Doubt.NOISE,)),
        (0.11, Goal.MEMORY, (), ()),
        (0.11, Goal.THROUGHPUT, (Doubt.STILL_RISING,), (Doubt.NOISE, Doubt.STILL_RISING)),
        (0.0, Goal.THROUGHPUT, (Doubt.CONTRADICTED,), (Doubt.CONTRADICTED,)),
    ],
)
def test_confidence_is_high_unless_something_speaks_against_it(
    risk: float, goal: Goal, doubts: tuple[Doubt, ...], expected: tuple[Doubt, ...]
) -> None:
    decision = decided(RISING, risk=risk, goal=goal)
    record = decision.to_record(128, quiet(RISING), doubts)
    assert record.doubts == expected
    assert record.confidence is (Confidence.LOW if expected else Confidence.HIGH)


@settings(max_examples=100)
@given(
    logs=st.lists(st.floats(-2, 2), min_size=1, max_size=10),
    noise=st.sampled_from([0.0, 0.02, 0.1, 0.4]),
    tolerance=st.floats(0.0, 0.3),
    yours=st.integers(0, 10),
    seed=st.integers(0, 1000),
)
def test_neither_knee_nor_answer_is_estimated_below_the_best_by_more_than_the_tolerance(
    logs: list[float], noise: float, tolerance: float, yours: int, seed: int
) -> None:
    rates = {2**power: 1000 * math.exp(log) for power, log in enumerate(logs)}
    trials = noisy(rates, noise=noise, num_rounds=seed % 3, seed=seed)
    decision = decide(trials, asked(tolerance_fraction=tolerance, your_batch_size=2**yours))
    best = decision.rates.log_rate(decision.rates.best())
    for size in (decision.knee, decision.answer):
        assert decision.rates.log_rate(size) >= best + math.log1p(-tolerance) - 1e-12
    assert set(decision.to_race) <= set(rates)


def test_values_are_throughputs_times_worth() -> None:
    rates = rates_of({8: 100.0, 16: 200.0})
    halved = asked(worth=lambda size: 8 / size).value(rates)
    assert halved.log_rate(16) == pytest.approx(math.log(100))
    assert asked().value(rates) is rates


RULES = Rules(
    grid=make_grid(Settings(), None, 1),
    goal=Goal.THROUGHPUT,
    budget_bytes=2**40,
    uncertainty_fraction=0.1,
)


def test_a_size_whose_only_run_lies_off_races_if_it_may_be_the_answer() -> None:
    rates = affine(4e-3, 1e-4, 1024)
    decision = decide(quiet({**rates, 512: 0.86 * rates[512]}), asked())
    assert 512 in decision.to_race
    assert decision.knee in decision.to_race
    slow = decide(quiet({**rates, 2: 0.7 * rates[2]}), asked())
    assert 2 not in slow.to_race


def test_much_noise_makes_no_size_surely_as_fast_as_the_best() -> None:
    # The best fit of a throughput that rises and that noise hides is often a cost per sample alone,
    # by which all sizes are as fast.
    rates = {64: 10e3, 128: 14e3, 256: 18e3, 512: 20e3, 1024: 21e3}
    decisions = [
        decide(noisy(rates, noise=0.4, seed=seed), asked(tolerance_fraction=0.1))
        for seed in range(60)
    ]
    slow = [each for each in decisions if rates[each.answer] < 0.8 * rates[1024]]
    assert len(slow) > 10
    assert sum(each.is_sure_of(each.answer) for each in slow) <= 2  # 9 by the fitted curve alone

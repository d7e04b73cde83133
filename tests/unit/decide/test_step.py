"""The next size to run, and which is expected to be the largest that fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.timings import decided

from autobatch.decide.grid import Grid
from autobatch.decide.numbers import NUMBERS
from autobatch.decide.step import Rules, is_expected_last, next_step
from autobatch.records import Goal, Outcome, StopReason, Trial

MIB = 2**20
RULES = Rules(
    grid=Grid(sizes=tuple(2**power for power in range(11)), end=StopReason.CAP, multiple=None),
    goal=Goal.MEMORY,
    budget_bytes=700 * MIB,
    uncertainty_fraction=0.1,
)


def fitted(**peaks_mib: int) -> dict[int, Trial]:
    """Trials that fitted, such as ``at_4=120``."""
    sizes = {int(name.removeprefix("at_")): peak for name, peak in peaks_mib.items()}
    return {
        size: Trial(batch_size=size, outcome=Outcome.FITS, peak_bytes=peak * MIB)
        for size, peak in sizes.items()
    }


# 100 MiB and 2 MiB a sample: 300 fit.
TRIALS = fitted(at_1=102, at_16=132, at_64=228)


@pytest.mark.parametrize(("size", "is_last"), [(128, False), (256, True), (512, True)])
def test_it_is_the_one_beyond_which_the_memory_line_sees_none(size: int, is_last: bool) -> None:
    assert is_expected_last(RULES, TRIALS, size) is is_last


def test_below_a_size_that_failed_there_is_no_doubt() -> None:
    trials = {**fitted(at_1=101), 64: Trial(batch_size=64, outcome=Outcome.OUT_OF_MEMORY)}
    assert is_expected_last(RULES, trials, 32)
    assert not is_expected_last(RULES, trials, 16)


@pytest.mark.parametrize("goal", [Goal.MEMORY, Goal.THROUGHPUT])
def test_an_error_at_the_next_size_is_the_reason_to_stop(goal: Goal) -> None:
    trials = {**fitted(at_16=132, at_32=164), 64: Trial(batch_size=64, outcome=Outcome.FAILED)}
    step = next_step(replace(RULES, goal=goal), trials)
    assert (step.batch_size, step.stop_reason) == (None, StopReason.FAILED)


def test_the_last_candidate_is_the_last() -> None:
    assert is_expected_last(RULES, fitted(at_1=101), 1024)
    assert not is_expected_last(RULES, fitted(at_1=101), 512)


def test_who_looks_for_the_fastest_or_between_the_powers_expects_nothing() -> None:
    fast = replace(RULES, goal=Goal.THROUGHPUT)
    fine = replace(RULES, grid=replace(RULES.grid, multiple=8))
    assert not is_expected_last(fast, TRIALS, 256)
    assert not is_expected_last(fine, TRIALS, 256)


def test_a_jump_goes_a_little_beyond_the_line_until_a_size_has_failed() -> None:
    rules = replace(RULES, budget_bytes=820 * MIB)  # 240 fit by the line, which is not that exact
    trials = fitted(at_1=103, at_16=148, at_64=292)
    assert next_step(rules, trials).batch_size == 256
    trials[512] = Trial(batch_size=512, outcome=Outcome.OUT_OF_MEMORY)
    assert next_step(rules, trials).batch_size == 128


def test_the_climb_begins_at_the_smallest_size_and_ends_where_that_does_not_fit() -> None:
    assert next_step(RULES, {}).batch_size == 1
    failed = {1: Trial(batch_size=1, outcome=Outcome.OUT_OF_MEMORY)}
    assert next_step(RULES, failed).stop_reason is StopReason.MEMORY


FAST = replace(RULES, goal=Goal.THROUGHPUT)
FEW = fitted(at_16=1, at_32=1, at_64=1)
RISING = {16: 100.0, 32: 150.0, 64: 200.0}
FLAT = {16: 100.0, 32: 100.0, 64: 100.0}
# Within the tolerance of the best, and too much for a plateau: 3 % in two doublings.
NEARLY_FLAT = {16: 100.0, 32: 101.5, 64: 103.0}


def test_while_throughput_rises_the_next_size_runs() -> None:
    assert next_step(FAST, FEW, decided(RISING)).batch_size == 128


def test_where_it_has_levelled_off_none_does() -> None:
    assert next_step(FAST, FEW, decided(FLAT)).stop_reason is StopReason.PLATEAU


def test_at_the_end_of_the_grid_its_reason_is_given() -> None:
    rules = replace(FAST, grid=Grid(sizes=(16, 32, 64), end=StopReason.DATASET, multiple=None))
    assert next_step(rules, FEW, decided(RISING)).stop_reason is StopReason.DATASET


def test_a_size_that_would_take_longer_than_all_before_is_not_begun_where_nothing_rises() -> None:
    slow = {size: rate / 50 for size, rate in NEARLY_FLAT.items()}
    cost_s = 3 * 128 / slow[64]
    assert cost_s > NUMBERS.dear_trial_s
    assert next_step(FAST, FEW, decided(slow), 1.01 * cost_s).batch_size == 128
    assert next_step(FAST, FEW, decided(slow), 0.99 * cost_s).stop_reason is StopReason.COST
    rising = {size: rate / 50 for size, rate in RISING.items()}
    assert next_step(FAST, FEW, decided(rising), 0.0).batch_size == 128


def test_a_few_seconds_are_never_too_long() -> None:
    for seconds, runs in (
        (0.99 * NUMBERS.dear_trial_s, True),
        (1.01 * NUMBERS.dear_trial_s, False),
    ):
        factor = 3 * 128 / seconds / NEARLY_FLAT[64]
        decision = decided({size: factor * rate for size, rate in NEARLY_FLAT.items()})
        assert (next_step(FAST, FEW, decision, 0.0).batch_size == 128) is runs


def test_a_size_is_begun_while_the_error_allows_that_throughput_rises() -> None:
    slow = {size: rate / 50 for size, rate in NEARLY_FLAT.items()}
    assert next_step(FAST, FEW, decided(slow, error=0.02), 0.0).stop_reason is StopReason.COST
    assert next_step(FAST, FEW, decided(slow, error=0.05), 0.0).batch_size == 128


@pytest.mark.parametrize("factor", [1.0, 0.02], ids=["a plateau", "cost"])
def test_yours_runs_whatever_ends_the_climb(factor: float) -> None:
    rates = FLAT if factor == 1 else {size: factor * rate for size, rate in NEARLY_FLAT.items()}
    assert next_step(FAST, FEW, decided(rates), 0.0).stop_reason is not None
    assert next_step(FAST, FEW, decided(rates, your_batch_size=256), 0.0).batch_size == 256
    trials = {**FEW, **fitted(at_256=1)}
    decision = decided({**rates, 256: rates[64]}, your_batch_size=256)
    assert next_step(FAST, trials, decision, 0.0).batch_size is None


def test_yours_does_not_run_where_it_cannot_fit() -> None:
    failed = {**FEW, 128: Trial(batch_size=128, outcome=Outcome.OUT_OF_MEMORY)}
    beyond_the_line = fitted(at_16=132, at_32=164, at_64=228)  # 300 fit
    for trials, yours in ((failed, 256), (beyond_the_line, 512), (FEW, 2048)):
        step = next_step(FAST, trials, decided(FLAT, your_batch_size=yours), 0.0)
        assert step.stop_reason is StopReason.PLATEAU


def test_who_asks_for_the_fastest_does_not_run_what_is_expected_not_to_fit() -> None:
    trials = fitted(at_64=228, at_128=356, at_256=612)  # 300 fit
    rising = decided({64: 100.0, 128: 150.0, 256: 200.0})
    assert next_step(FAST, trials, rising).stop_reason is StopReason.MEMORY
    trials = fitted(at_64=164, at_128=264, at_256=460)  # by the line 512 takes more than the budget
    tight = replace(FAST, budget_bytes=840 * MIB)
    assert next_step(tight, trials, rising).stop_reason is StopReason.MEMORY_EXPECTED
    roomy = replace(FAST, budget_bytes=900 * MIB)
    assert next_step(roomy, trials, rising).batch_size == 512

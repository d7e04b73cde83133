"""Which size is expected to be the largest that fits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autobatch.decide.grid import Grid
from autobatch.decide.step import Rules, is_expected_last, next_step
from autobatch.records import Goal, Outcome, StopReason, Trial

MIB = 2**20
RULES = Rules(
    grid=Grid(sizes=tuple(2**power for power in range(11)), end=StopReason.CAP, multiple=None),
    goal=Goal.MEMORY,
    tolerance_fraction=0.05,
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

"""How far the memory line is believed, at peaks worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autobatch.decide.grid import make_grid
from autobatch.decide.step import Rules
from autobatch.recommend.largest import Largest, find_largest
from autobatch.records import Goal, Outcome, Settings, Trial

MIB = 2**20
Find = Callable[..., Largest]


@pytest.fixture
def find(make_trial: Any) -> Find:
    """The largest size, from peaks in MiB by batch size and a budget in MiB."""

    def call(
        peaks: dict[int, float], budget: int, *failed: Trial, cap: int | None = None
    ) -> Largest:
        rules = Rules(
            grid=make_grid(Settings(max_batch_size=cap), None, 1),
            goal=Goal.THROUGHPUT,
            budget_bytes=budget * MIB,
            uncertainty_fraction=0.1,
        )
        ran = [make_trial(size, peak_bytes=round(peak * MIB)) for size, peak in peaks.items()]
        return find_largest(rules, {trial.batch_size: trial for trial in (*ran, *failed)})

    return call


def line(*sizes: int) -> dict[int, float]:
    return {size: 256 + size for size in sizes}


def test_a_line_is_followed_to_eight_times_what_ran_and_no_farther(find: Find) -> None:
    near = find(line(16, 32, 64, 128), 256 + 1_500)
    assert near == Largest(batch_size=1_024, was_run=False, is_lower_bound=False)
    far = find(line(16, 32, 64, 128), 256 + 2_100)
    assert far == Largest(batch_size=128, was_run=True, is_lower_bound=True)


def test_a_cap_says_nothing_of_memory(find: Find) -> None:
    capped = find(line(16, 32, 64), 256 + 1_500, cap=64)
    assert capped == Largest(batch_size=64, was_run=True, is_lower_bound=True)
    early = find(line(16, 32, 64), 256 + 1_500, cap=128)
    assert early == Largest(batch_size=128, was_run=False, is_lower_bound=True)


def test_two_sizes_make_no_line_to_follow(find: Find) -> None:
    assert find({1: 329, 2: 330}, 4_096) == Largest(batch_size=2, was_run=True, is_lower_bound=True)


def test_peaks_that_grow_with_the_square_predict_nothing(find: Find) -> None:
    """Similarities of all samples with each other: four n x n matrices of fp32."""
    peaks = {size: 329 + 4 * size**2 * 4 / MIB for size in (512, 1_024, 2_048, 4_096)}
    # The line through the last two has 16,384 under 2,900 MiB; the truth is 12,980.
    assert find(peaks, 2_900) == Largest(batch_size=4_096, was_run=True, is_lower_bound=True)


def test_what_failed_ends_the_search_for_the_largest(find: Find, make_trial: Any) -> None:
    for outcome in (Outcome.OUT_OF_MEMORY, Outcome.OVER_BUDGET, Outcome.KILLED, Outcome.FAILED):
        found = find(line(16, 32, 64), 10_000, make_trial(128, outcome=outcome))
        assert found == Largest(batch_size=64, was_run=True, is_lower_bound=False)


def test_a_size_that_timed_out_may_have_fitted(find: Find, make_trial: Any) -> None:
    late = make_trial(128, outcome=Outcome.TIMED_OUT)
    assert find(line(16, 32, 64), 10_000, late) == Largest(
        batch_size=64, was_run=True, is_lower_bound=True
    )


def test_what_the_line_expects_to_fail_may_fit_after_all(find: Find) -> None:
    """The bound grants peaks 10 % of their growth and 2 % of themselves; the line nothing."""
    ran = line(16, 32, 64)  # 128 is expected to take 384 MiB, and cannot do with less than 370
    close, far = (find(ran, budget) for budget in (380, 360))
    assert close == Largest(batch_size=64, was_run=True, is_lower_bound=True)
    assert far == Largest(batch_size=64, was_run=True, is_lower_bound=False)


def test_the_cache_of_an_allocator_rules_nothing_out(make_trial: Any) -> None:
    rules = Rules(
        grid=make_grid(Settings(), None, 1),
        goal=Goal.THROUGHPUT,
        budget_bytes=600 * MIB,
        uncertainty_fraction=0.1,
    )

    def found(reserved_ratio: float, allocated_mib: dict[int, int]) -> Largest:
        trials = {
            size: make_trial(
                size,
                peak_bytes=round(reserved_ratio * mib * MIB),
                peak_reserved_bytes=round(reserved_ratio * mib * MIB),
                peak_allocated_bytes=mib * MIB,
            )
            for size, mib in allocated_mib.items()
        }
        return find_largest(rules, trials)

    known = Largest(batch_size=64, was_run=True, is_lower_bound=False)
    unknown = Largest(batch_size=64, was_run=True, is_lower_bound=True)
    assert found(1.0, {16: 100, 32: 200, 64: 400}) == known
    assert found(1.4, {16: 70, 32: 140, 64: 280}) == unknown
    assert found(1.0, {16: 200, 32: 220, 64: 400}) == unknown  # a spike, as far as is known

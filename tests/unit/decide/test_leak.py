"""Growth of memory that is a leak, and an allocator that settles."""

from __future__ import annotations

import pytest

from autobatch.decide.leak import find_growth_bytes_per_step, needs_more_steps

MIB = 2**20
# Peaks of a plain training loop on a CPU that keeps nothing, step by step.
PLAIN_LOOP = tuple(peak * MIB for peak in (570, 577, 582, 584, 584, 587, 587, 587))


def in_windows(*num_steps: int) -> tuple[int, ...]:
    """Peaks of the plain loop in windows of so many steps each."""
    peaks, first = [], 0
    for count in num_steps:
        peaks.append(max(PLAIN_LOOP[first : first + count] or PLAIN_LOOP[-1:]))
        first += count
    return tuple(peaks)


@pytest.mark.parametrize("counts", [(2, 1, 1), (1, 1, 1), (2, 2, 2), (2, 1, 1, 1)])
def test_growth_over_fewer_than_ten_steps_accuses_nobody(counts: tuple[int, ...]) -> None:
    assert find_growth_bytes_per_step(in_windows(*counts), counts) == 0


@pytest.mark.parametrize(
    "counts", [(2, *(1,) * 8), (2, 4, 4), (3, 3, 4), (4, 3, 3), (2, 2, 6), (10, 10, 10)]
)
def test_a_plain_loop_is_no_leak_however_its_steps_are_divided(counts: tuple[int, ...]) -> None:
    assert find_growth_bytes_per_step(in_windows(*counts), counts) == 0


def test_recorded_peaks_of_a_search_that_accused_a_loop_without_a_leak_are_none() -> None:
    peaks = tuple(peak * MIB for peak in (1431, 1440, 1448))
    assert find_growth_bytes_per_step(peaks, (2, 1, 1)) == 0


def test_growth_that_slows_down_is_an_allocator_that_settles() -> None:
    settles = [1000 * MIB, 1100 * MIB, 1110 * MIB]
    assert find_growth_bytes_per_step(settles, (4, 4, 4)) == 0
    grows = [1000 * MIB, 1100 * MIB, 1200 * MIB]
    assert find_growth_bytes_per_step(grows, (4, 4, 4)) == 25 * MIB


def test_a_leak_is_told_by_its_bytes_a_step_where_windows_differ() -> None:
    counts = (2, 1, 1, 3, 1, 2)
    peaks = [600 * MIB + 4 * MIB * sum(counts[: i + 1]) for i in range(len(counts))]
    assert find_growth_bytes_per_step(peaks, counts) == 4 * MIB


def test_more_steps_are_needed_while_memory_grows_and_fewer_than_ten_ran() -> None:
    assert needs_more_steps(in_windows(2, 1, 1), (2, 1, 1))
    assert not needs_more_steps(in_windows(2, 1), (2, 1)), "two windows show no growth"
    assert not needs_more_steps(in_windows(2, 1, 1, 1), (2, 1, 1, 1)), "it has settled"
    growing = [600 * MIB + 4 * MIB * i for i in range(9)]
    assert not needs_more_steps(growing, (2, *(1,) * 8)), "ten are enough"

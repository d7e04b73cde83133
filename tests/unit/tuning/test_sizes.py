"""The climb from the size of the start, and rounds until a ratio is clear."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from autobatch.errors import NothingFitsError
from autobatch.probe.protocol import Purpose
from autobatch.records import Outcome, Trial
from autobatch.tuning.ratios import interval_of, is_clear, mean_of
from autobatch.tuning.sizes import Limits, Sized, find_size

MIB = 2**20
LIMITS = Limits(
    first=32,
    smallest=1,
    largest=4096,
    budget_bytes=1024 * MIB,
    first_peak_bytes=100 * MIB,
    per_sample_bytes=1.0 * MIB,
    noise_fraction=0.005,
    is_bound_by_memory=False,
    has_fallen=False,
)


class Runs:
    """Runs of settings whose throughput and peak a function of the size says; the start has 1."""

    def __init__(
        self, rate_of: Callable[[int], float], peak_of: Callable[[int], int] | None = None
    ) -> None:
        self.rate_of, self.sizes = rate_of, list[int]()
        self.peak_of = peak_of or (lambda size: (68 + size) * MIB)
        self.num_references = 0

    def __call__(self, size: int, purpose: Purpose) -> tuple[Trial, float]:
        if purpose is Purpose.SEARCH:
            self.sizes.append(size)
        peak = self.peak_of(size)
        if peak > LIMITS.budget_bytes:
            return Trial(batch_size=size, outcome=Outcome.OUT_OF_MEMORY), 0.0
        return Trial(batch_size=size, outcome=Outcome.FITS, peak_bytes=peak), self.rate_of(size)

    def reference(self) -> float:
        self.num_references += 1
        return 1.0


def climb(runs: Runs, limits: Limits = LIMITS) -> Sized:
    return find_size(runs, runs.reference, limits, lambda: False)


def test_the_climb_goes_on_for_as_long_as_it_gains() -> None:
    runs = Runs(lambda size: min(size, 256) / 30)
    assert climb(runs).batch_size == 256
    assert runs.sizes[:4] == [32, 64, 128, 256]
    assert max(runs.sizes) <= 1024


def test_settings_that_are_slow_at_the_size_of_the_start_run_at_no_other() -> None:
    runs = Runs(lambda size: 0.7)
    sized = climb(runs)
    assert runs.sizes == [32]
    assert sized.ratios == pytest.approx((0.7, 0.7))
    assert runs.num_references == 2


def test_slow_settings_that_free_memory_where_it_binds_climb_all_the_same() -> None:
    runs = Runs(lambda size: 0.7 * (size / 32) ** 0.5, lambda size: (40 + size // 4) * MIB)
    assert climb(runs, replace(LIMITS, is_bound_by_memory=True)).batch_size > 128


def test_settings_that_do_not_gain_run_at_larger_sizes_only_where_the_start_fell_there() -> None:
    def rate_of(size: int) -> float:
        return 1.0 if size == 32 else 1.4

    assert climb(Runs(rate_of)).batch_size == 32
    assert climb(Runs(rate_of), replace(LIMITS, is_bound_by_memory=True)).batch_size == 32
    assert climb(Runs(rate_of), replace(LIMITS, has_fallen=True)).batch_size == 64


@pytest.mark.parametrize("bad", [0, 1, 2, 3])
def test_one_size_in_a_bad_moment_does_not_end_the_climb(bad: int) -> None:
    numbers = itertools.count()

    def rate_of(size: int) -> float:
        return min(size, 512) / 512 * (0.4 if next(numbers) == bad else 1.0)

    runs = Runs(rate_of)
    assert climb(runs, replace(LIMITS, has_fallen=True)).batch_size == 512


def test_where_the_size_of_the_start_does_not_fit_it_goes_down() -> None:
    runs = Runs(lambda size: size / 16, lambda size: size * 100 * MIB)
    assert climb(runs).batch_size == 8
    assert runs.sizes == [32, 16, 8]


def test_where_nothing_fits_the_lever_is_refused() -> None:
    with pytest.raises(NothingFitsError):
        climb(Runs(lambda size: 1.0, lambda size: 4096 * MIB))


def test_a_size_that_the_line_puts_beyond_the_budget_does_not_run() -> None:
    runs = Runs(lambda size: size / 16, lambda size: size * 5 * MIB)
    limits = replace(LIMITS, first_peak_bytes=160 * MIB, per_sample_bytes=5.0 * MIB)
    assert climb(runs, limits).batch_size == 128
    assert runs.sizes == [32, 64, 128]  # 256 would take 1,280 MiB


def test_the_largest_size_is_run_and_none_above_it() -> None:
    runs = Runs(lambda size: size / 16)
    assert climb(runs, replace(LIMITS, largest=96)).batch_size == 96
    assert runs.sizes == [32, 64, 96]


def test_a_ratio_that_is_clear_at_once_takes_one_round_and_a_close_one_takes_more() -> None:
    clear, close = Runs(lambda size: 0.5), Runs(lambda size: 1.02 if size == 32 else 0.5)
    climb(clear)
    climb(close)
    assert clear.num_references < close.num_references


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    noise, held = 0.05, 0
    source = random.Random(0)
    for _ in range(400):
        ratios = [
            1.3 * source.lognormvariate(0, noise) / source.lognormvariate(0, noise)
            for _ in range(4)
        ]
        low, high = interval_of(ratios, noise)
        held += low <= 1.3 <= high
    assert 0.87 <= held / 400 <= 0.97


def test_noise_leaves_a_small_gain_open_and_a_large_one_clear() -> None:
    assert not is_clear([1.04] * 3, 0.03)
    assert is_clear([1.2] * 3, 0.02)
    assert not is_clear([1.0, 1.5, 2.2], 0.02)  # the rounds scatter more than is known
    assert is_clear([0.9, 0.9], 0.02)
    assert not is_clear([0.93, 0.8, 1.1], 0.1)  # a loss is believed no more easily than a gain


def test_two_rounds_that_agree_are_enough_to_drop_a_lever_and_not_to_take_it() -> None:
    assert not is_clear([0.5], 0.02)
    assert is_clear([0.5, 0.52], 0.02)
    assert not is_clear([0.4, 1.05], 0.02)  # one of the two was a bad moment
    assert not is_clear([2.0, 2.0], 0.02)


def test_one_round_in_a_bad_moment_of_the_machine_moves_neither_mean_nor_climb() -> None:
    assert mean_of([1.2, 1.1, 0.3, 1.3]) == pytest.approx((1.2 * 1.1) ** 0.5)
    assert mean_of([0.8, 1.25]) == pytest.approx(1.0)
    runs = Runs(lambda size: 1.2)
    moments = iter([0.2])  # the start is slow in the first run of the climb, and never again
    sized = find_size(runs, lambda: next(moments, 1.0), LIMITS, lambda: False)
    assert mean_of(sized.ratios) == pytest.approx(1.2)
    assert sized.climbed[sized.batch_size] == pytest.approx(1.2)


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("begin", range(8))
def test_a_bad_moment_of_several_runs_costs_no_lever_that_gains(begin: int, length: int) -> None:
    clock = itertools.count()

    def slowed(rate: float) -> float:
        return rate * (0.4 if begin <= next(clock) < begin + length else 1.0)

    runs = Runs(lambda size: slowed(1.3))
    limits = replace(LIMITS, largest=LIMITS.first)
    sized = find_size(runs, lambda: slowed(1.0), limits, lambda: False)
    assert mean_of(sized.ratios) == pytest.approx(1.3, rel=0.25)
    assert mean_of(sized.ratios) > 1.02

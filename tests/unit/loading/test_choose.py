"""Which loader settings are timed, and which are chosen."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from autobatch.loading.choose import LoaderSearch, find_likely, list_numbers
from autobatch.records import LoaderChoice, LoaderSettings, LoaderTiming

OWN = LoaderSettings(num_workers=0)


class Machine:
    """Times settings by a formula; keeps what was asked."""

    def __init__(
        self,
        rate: Callable[[LoaderSettings], float],
        *,
        own: LoaderSettings = OWN,
        start_s: float = 0.0,
        most_workers: int = 1000,
    ) -> None:
        self.rate, self.own, self.start_s, self.most_workers = rate, own, start_s, most_workers
        self.asked: list[LoaderSettings] = []

    def time_one(self, way: LoaderSettings | None) -> LoaderTiming:
        used = way or self.own
        self.asked.append(used)
        host_peak_bytes = (used.num_workers + 1) * 2**20
        if used.num_workers > self.most_workers:
            return LoaderTiming(
                settings=used, host_peak_bytes=host_peak_bytes, message="over the budget"
            )
        return LoaderTiming(
            settings=used,
            samples_per_s=self.rate(used),
            start_s=self.start_s,
            host_peak_bytes=host_peak_bytes,
        )

    def choose(self, num_cores: int = 8, **fields: object) -> LoaderChoice:
        return LoaderSearch(
            batch_size=10, time_one=self.time_one, num_cores=num_cores, **fields
        ).run()  # type: ignore[arg-type]

    @property
    def numbers(self) -> list[int]:
        """Numbers of workers in the order in which they were first asked for."""
        return list(dict.fromkeys(each.num_workers for each in self.asked))


def by_workers(most: float) -> Callable[[LoaderSettings], float]:
    """100 samples/s for each process that loads, up to what the training takes."""
    return lambda way: min(100.0 * max(1, way.num_workers), most)


@pytest.mark.parametrize(
    ("cores", "numbers"), [(1, [0, 1]), (2, [0, 1, 2]), (6, [0, 1, 2, 4, 6]), (8, [0, 1, 2, 4, 8])]
)
def test_workers_double_up_to_the_usable_cores(cores: int, numbers: list[int]) -> None:
    assert list(list_numbers(cores)) == numbers


def test_workers_are_added_while_they_gain() -> None:
    machine = Machine(by_workers(400))
    choice = machine.choose(num_cores=64)
    assert choice.chosen == LoaderSettings(num_workers=4, prefetch_factor=2)
    assert machine.numbers == [0, 1, 2, 4, 8]
    assert (choice.own_samples_per_s, choice.samples_per_s) == (100, 400)
    assert choice.host_peak_bytes == 5 * 2**20


def test_one_worker_that_gains_nothing_is_not_the_end() -> None:
    assert Machine(by_workers(200)).choose().chosen == LoaderSettings(
        num_workers=2, prefetch_factor=2
    )


def test_a_moment_of_a_busy_machine_ends_no_climb() -> None:
    moments = {4: [150.0]}
    honest = by_workers(800)

    def rate(way: LoaderSettings) -> float:
        slow = moments.get(way.num_workers, [])
        return slow.pop() if slow else honest(way)

    choice = Machine(rate).choose()
    assert choice.chosen is not None
    assert choice.chosen.num_workers == 8


def test_settings_over_the_budget_are_refused_and_nothing_beyond_is_tried() -> None:
    machine = Machine(by_workers(1e9), most_workers=2)
    choice = machine.choose(num_cores=16)
    assert choice.chosen == LoaderSettings(num_workers=2, prefetch_factor=2)
    assert machine.numbers == [0, 1, 2, 4]
    assert [each.message for each in choice.timings if each.settings.num_workers == 4] == [
        "over the budget"
    ]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_as_much_is_prefetched_as_is_fastest_by_however_little(factor: int) -> None:
    machine = Machine(
        lambda way: by_workers(400)(way) * (1.01 if way.prefetch_factor == factor else 1)
    )
    assert machine.choose().chosen == LoaderSettings(num_workers=4, prefetch_factor=factor)


def test_prefetching_is_compared_in_every_round_of_the_race() -> None:
    machine = Machine(by_workers(400))
    machine.choose()
    asked = [each.prefetch_factor for each in machine.asked if each.num_workers == 4]
    assert all(asked.count(factor) >= 3 for factor in (2, 4, 8))


def test_memory_is_pinned_for_accelerators_alone() -> None:
    def rate(way: LoaderSettings) -> float:
        return by_workers(400)(way) * (1.5 if way.pin_memory else 1)

    on_cpu, on_gpu = Machine(rate), Machine(rate)
    assert on_cpu.choose().chosen == LoaderSettings(num_workers=4, prefetch_factor=2)
    assert not any(each.pin_memory for each in on_cpu.asked)
    chosen = on_gpu.choose(may_pin=True).chosen
    assert chosen == LoaderSettings(num_workers=4, prefetch_factor=2, pin_memory=True)


@pytest.mark.parametrize(("num_batches", "lives"), [(10, True), (100, False), (None, False)])
def test_workers_outlive_an_epoch_where_starting_them_takes_a_good_part_of_it(
    num_batches: int | None, lives: bool
) -> None:
    # A batch takes 25 ms; the first came after 200 ms, 100 of which its worker worked on it.
    machine = Machine(by_workers(400), start_s=0.2)
    chosen = machine.choose(num_batches=num_batches).chosen
    assert chosen == LoaderSettings(num_workers=4, prefetch_factor=2, persistent_workers=lives)


def test_what_the_noise_hides_is_likely_all_the_same_with_workers_that_outlive_an_epoch() -> None:
    own, other = LoaderSettings(num_workers=0), LoaderSettings(num_workers=2, prefetch_factor=2)
    timings = tuple(
        LoaderTiming(settings=way, samples_per_s=rate, start_s=0.5)
        for way, rate in [(own, 100.0), (other, 80.0), (own, 90.0), (other, 130.0), (other, 120.0)]
    )
    choice = LoaderChoice(batch_size=10, timings=timings, reason="uncertain")
    assert find_likely(choice, num_batches=10) == replace(other, persistent_workers=True)
    assert find_likely(choice, num_batches=1000) == other


def test_nothing_is_likely_where_the_users_own_is_fastest_or_nothing_was_timed() -> None:
    machine = Machine(by_workers(100))
    assert find_likely(machine.choose(), num_batches=10) is None
    assert find_likely(LoaderChoice(batch_size=10, reason="no time"), num_batches=10) is None
    chosen = Machine(by_workers(400)).choose(num_batches=10)
    assert find_likely(chosen, num_batches=10) == chosen.chosen


def test_the_users_own_settings_stay_where_none_gains() -> None:
    own = LoaderSettings(num_workers=3, prefetch_factor=5, persistent_workers=True)
    machine = Machine(lambda way: 100.0 if way.num_workers else 40.0, own=own)
    choice = machine.choose()
    assert choice.chosen is not None
    assert (choice.chosen.num_workers, choice.chosen.prefetch_factor) in [(3, 5)]
    assert choice.is_own


def test_nothing_is_claimed_of_what_only_some_rounds_show() -> None:
    turns = {0: 0, 2: 0}

    def rate(way: LoaderSettings) -> float:
        if way.num_workers not in turns:
            return 50.0
        turns[way.num_workers] += 1
        even = turns[way.num_workers] % 2 == 0
        return {0: 100.0, 2: 60.0 if even else 180.0}[way.num_workers]

    choice = Machine(rate).choose(num_cores=2)
    assert choice.chosen is None
    assert "uncertain" in choice.reason


def test_own_settings_are_not_called_as_fast_as_any_where_a_round_says_otherwise() -> None:
    # The medians are alike, and in one round one worker was three times as fast.
    rates = {0: itertools.cycle([100.0, 100.0, 40.0]), 1: itertools.cycle([80.0, 80.0, 120.0])}
    machine = Machine(lambda way: next(rates[way.num_workers]))
    choice = machine.choose(num_cores=1)
    assert (choice.chosen, choice.is_own) == (None, False)
    assert "uncertain" in choice.reason


def test_own_settings_that_cannot_be_timed_say_why_at_once() -> None:
    machine = Machine(by_workers(400), most_workers=-1)
    choice = machine.choose()
    assert (choice.chosen, choice.reason, len(machine.asked)) == (None, "over the budget", 1)


def test_no_new_setting_is_tried_after_the_time_and_the_race_is_run_all_the_same() -> None:
    moments = iter(range(1000))
    machine = Machine(by_workers(10_000))
    choice = machine.choose(num_cores=64, max_time_s=2.5, clock=lambda: float(next(moments)))
    assert max(machine.numbers) == 2
    assert choice.chosen == LoaderSettings(num_workers=2, prefetch_factor=2)


def noisy(honest: Callable[[LoaderSettings], float], seed: int) -> Machine:
    """Speeds drift by a quarter, slowly, and each timing is off by a tenth besides."""
    source, drift = random.Random(seed), [0.0]

    def rate(way: LoaderSettings) -> float:
        drift[0] = 0.8 * drift[0] + source.gauss(0, 0.15)
        return honest(way) * math.exp(drift[0] + source.gauss(0, 0.1))

    return Machine(rate)


@pytest.mark.parametrize("most", [150.0, 200.0, 400.0])
def test_what_is_chosen_on_a_busy_machine_is_nearly_as_fast_as_the_best(most: float) -> None:
    honest = by_workers(most)
    choices = [noisy(honest, seed).choose(num_cores=4) for seed in range(40)]
    chosen = [honest(each.chosen) / most for each in choices if each.chosen is not None]
    assert len(chosen) >= 36
    assert sum(each >= 0.95 for each in chosen) >= 0.9 * len(chosen)


def test_nothing_is_gained_by_chance() -> None:
    # No number of workers helps, and each of them would take memory for nothing.
    choices = [noisy(lambda way: 100.0, seed).choose(num_cores=4) for seed in range(40)]
    assert sum(each.chosen is None or each.is_own for each in choices) >= 34

"""Which way of loading to time next, and which to train with."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from scipy.special import stdtrit

from autobatch.records.loading import LoaderChoice, LoaderSettings, LoaderTiming

#: A setting that gains less is not worth its memory.
LEAST_GAIN_FRACTION = 0.05
# Of numbers of workers that are as fast as this, the smallest is taken.
_SAME_FRACTION = 0.02
_PREFETCH_FACTORS = (2, 4, 8)
# One worker relieves the training of loading, and makes batches no faster.
_FEWEST_TO_STOP = 2
# Slower ones are not timed again.
_NEAR_FRACTION = 0.25
_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 12
#: The race may take as many times as long as what goes before it.
RACE_RATIO = 2
# Probability that counts as sure.
_SURE = 0.99
UNCERTAIN = "timings on this machine are too uncertain to compare settings"
QUIETER = "search again on a quieter machine, so that loader settings can be compared"


class Gain(Enum):
    """Whether a way of loading is faster than the user's own."""

    SURE = "sure"
    NONE = "none"
    DOUBTFUL = "doubtful"


def list_numbers(num_cores: int) -> Iterator[int]:
    """Numbers of workers to time: none, then doubling up to the usable cores.

    Args:
        num_cores: Cores that this process may use.
    """
    yield 0
    number = 1
    while number < num_cores:
        yield number
        number *= 2
    yield num_cores


@dataclass(slots=True, kw_only=True)
class LoaderSearch:
    """A short search: own, more workers, prefetching, pinned memory, then a race of the fastest.

    Attributes:
        batch_size: Samples of a batch.
        time_one: Times one way; the user's own if ``None``.
        num_cores: Cores that this process may use.
        may_pin: Whether the device is an accelerator, to which pinned memory is copied faster.
        num_batches: Batches of an epoch; ``None`` if unknown.
        max_time_s: Time after which nothing new is tried; the race may take twice as long again.
        clock: Returns seconds from any origin.
        timings: What was timed so far, the user's own first.
    """

    batch_size: int
    time_one: Callable[[LoaderSettings | None], LoaderTiming]
    num_cores: int
    may_pin: bool = False
    num_batches: int | None = None
    max_time_s: float = 20.0
    clock: Callable[[], float] = time.monotonic
    timings: list[LoaderTiming] = field(default_factory=list)

    def run(self) -> LoaderChoice:
        """Search.

        Returns:
            What is faster than the user's own by the least gain, beyond the noise of the rounds of
            the race; the user's own if nothing gains as much; none if the noise hides which.
        """
        deadline = self.clock() + self.max_time_s
        own = self._time(None)
        if own.samples_per_s is None:
            return self._without(own.message)
        for settings in self._list_more(own.settings):
            if self.clock() > deadline:
                break
            self._time(settings)
        best, gain = self._race(own.settings)
        if gain is Gain.SURE:
            life = with_life(best, self.timings, self.batch_size, self.num_batches)
            return self._choose(life)
        if gain is Gain.DOUBTFUL:
            return self._without(UNCERTAIN, remedy=QUIETER)
        return self._choose(own.settings)

    def _race(self, own: LoaderSettings) -> tuple[LoaderSettings, Gain]:
        """Time the fastest and the user's own in turn, until it is clear whether one gains.

        Every other round goes backwards, so that a machine that slows down favours none of them.
        After the fewest rounds the best number of workers goes on alone, beside the user's own.
        """
        least = (1 - _NEAR_FRACTION) * max(map(self._rate_of, self._ways()))
        others = [each for each in self._ways() if each != own and self._rate_of(each) >= least]
        rounds: list[dict[LoaderSettings, float]] = []
        gain = Gain.DOUBTFUL if others else Gain.NONE
        deadline = self.clock() + RACE_RATIO * self.max_time_s
        while gain is Gain.DOUBTFUL and len(rounds) < _MOST_ROUNDS:
            if len(rounds) >= _FEWEST_ROUNDS and self.clock() > deadline:
                break
            turn = [own, *others][:: -1 if len(rounds) % 2 else 1]
            rounds.append({each: _rate(self._time(each)) for each in turn})
            if len(rounds) >= _FEWEST_ROUNDS:
                best = self._find_best(others)
                others = [each for each in others if each.num_workers == best.num_workers]
                gain = judge_gain(*([each[way] for each in rounds] for way in (own, best)))
        return self._find_best(others) if others else own, gain

    def _list_more(self, own: LoaderSettings) -> Iterator[LoaderSettings]:
        """Ways besides the user's own, each with those before it timed."""
        yield from self._list_workers(own)
        best = self._find_best(self._ways())
        if best.num_workers:
            for factor in _PREFETCH_FACTORS:
                if factor != best.prefetch_factor:
                    yield replace(best, prefetch_factor=factor)
        best = self._find_best(self._ways())
        if self.may_pin and not best.pin_memory:
            yield replace(best, pin_memory=True)

    def _list_workers(self, own: LoaderSettings) -> Iterator[LoaderSettings]:
        before: LoaderSettings | None = None
        for number in list_numbers(self.num_cores):
            way = own if number == own.num_workers else _with_workers(own, number)
            if way != own:
                yield way
            if not self._rate_of(way) and number:
                return  # more workers would take more memory still
            if before is not None and number >= _FEWEST_TO_STOP and not self._has_gain(before, way):
                yield before  # again, in turn: a moment of a busy machine ends no climb
                yield way
                if not self._has_gain(before, way):
                    return
            before = way

    def _find_best(self, ways: Sequence[LoaderSettings]) -> LoaderSettings:
        """The fastest; pinning must gain, and fewer workers are as good.

        Batches that are loaded further ahead need not gain: they cost host memory alone, and a way
        that takes more than the budget has no rate.
        """
        own_pins = self.timings[0].settings.pin_memory
        plain = [each for each in ways if each.pin_memory == own_pins] or [*ways]
        top = max(map(self._rate_of, plain))
        near = [each for each in plain if self._rate_of(each) >= (1 - _SAME_FRACTION) * top]
        number = min(each.num_workers for each in near)
        best = max((each for each in plain if each.num_workers == number), key=self._rate_of)
        pinned = [each for each in ways if each not in plain and self._has_gain(best, each)]
        return max(pinned, key=self._rate_of, default=best)

    def _time(self, settings: LoaderSettings | None) -> LoaderTiming:
        self.timings.append(self.time_one(settings))
        return self.timings[-1]

    def _ways(self) -> list[LoaderSettings]:
        return list(dict.fromkeys(each.settings for each in self.timings))

    def _rate_of(self, settings: LoaderSettings) -> float:
        return rate_of(settings, self.timings)

    def _has_gain(self, before: LoaderSettings, after: LoaderSettings) -> bool:
        return _gains(self._rate_of(before), self._rate_of(after))

    def _choose(self, settings: LoaderSettings) -> LoaderChoice:
        own, ways = self.timings[0].settings, self._ways()
        # Workers live for as long as a timing, whatever is chosen of it.
        timed = settings if settings in ways else replace(settings, persistent_workers=False)
        return LoaderChoice(
            batch_size=self.batch_size,
            timings=tuple(self.timings),
            chosen=settings,
            samples_per_s=self._rate_of(timed),
            own_samples_per_s=self._rate_of(own) or None,
        )

    def _without(self, reason: str, remedy: str = "") -> LoaderChoice:
        return LoaderChoice(
            batch_size=self.batch_size,
            timings=tuple(self.timings),
            reason=reason,
            remedy=remedy,
        )


def rate_of(settings: LoaderSettings, timings: Sequence[LoaderTiming]) -> float:
    """The median of its timings; 0 if any of them took more memory than the budget.

    Args:
        settings: A way of loading.
        timings: Of all ways.

    Returns:
        Samples per second.
    """
    rates = [_rate(each) for each in timings if each.settings == settings]
    return statistics.median(rates) if rates and all(rates) else 0.0


def with_life(
    way: LoaderSettings,
    timings: Sequence[LoaderTiming],
    batch_size: int,
    num_batches: int | None,
) -> LoaderSettings:
    """With workers that outlive an epoch, where starting them takes a good part of it.

    Args:
        way: A way of loading that has a throughput.
        timings: Of all ways.
        batch_size: Samples of a batch.
        num_batches: Batches of an epoch; ``None`` if unknown.
    """
    if not way.num_workers or way.persistent_workers or not num_batches:
        return way
    pass_time_s = batch_size / rate_of(way, timings)
    start_s = statistics.median(each.start_s for each in timings if each.settings == way)
    # The first batch itself takes a worker as long in every epoch.
    starting_s = max(0.0, start_s - way.num_workers * pass_time_s)
    is_long = starting_s >= LEAST_GAIN_FRACTION * num_batches * pass_time_s
    return replace(way, persistent_workers=is_long)


def find_likely(choice: LoaderChoice, num_batches: int | None) -> LoaderSettings | None:
    """What may well be faster than the user's own, sure or not; ``None`` if nothing is.

    Args:
        choice: With what was timed.
        num_batches: Batches of an epoch; ``None`` if unknown.
    """
    if choice.chosen is not None or not choice.timings:
        return None if choice.is_own else choice.chosen
    ways = dict.fromkeys(each.settings for each in choice.timings)
    best = max(ways, key=lambda each: rate_of(each, choice.timings))
    if best == choice.timings[0].settings:  # also where none has a rate
        return None
    return with_life(best, choice.timings, choice.batch_size, num_batches)


def judge_gain(own: Sequence[float], other: Sequence[float]) -> Gain:
    """Whether one way is faster than another by the least gain, by rounds in which both ran.

    What a machine does to a round cancels in the ratio. What is left of the noise shows in how much
    the ratios of the rounds differ.

    Args:
        own: Throughput in each round.
        other: Of the other way, in the same rounds.
    """
    if not all((*own, *other)):  # it took more memory than the budget
        return Gain.NONE
    gains = [math.log(b / a) for a, b in zip(own, other, strict=True)]
    mean, least = statistics.mean(gains), math.log1p(LEAST_GAIN_FRACTION)
    error = statistics.stdev(gains) / math.sqrt(len(gains))
    margin = float(stdtrit(len(gains) - 1, _SURE)) * error
    if mean >= least and mean - margin > 0:
        return Gain.SURE
    return Gain.NONE if mean + margin < least else Gain.DOUBTFUL


def _with_workers(own: LoaderSettings, number: int) -> LoaderSettings:
    factor = own.prefetch_factor or _PREFETCH_FACTORS[0]
    return replace(
        own,
        num_workers=number,
        prefetch_factor=factor if number else None,
        persistent_workers=own.persistent_workers and number > 0,
    )


def _rate(timing: LoaderTiming) -> float:
    return timing.samples_per_s or 0.0


def _gains(before: float, after: float) -> bool:
    return after > 0 and after >= (1 + LEAST_GAIN_FRACTION) * before

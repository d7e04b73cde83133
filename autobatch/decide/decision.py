"""What the trials that fitted say: how fast each size is, which is the answer, and how sure.

Everything that the search, the report and the warnings say of throughput is read from one
``Decision``, made by ``decide`` from one set of trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from autobatch.decide.numbers import NUMBERS, Numbers
from autobatch.decide.rates import Rates, estimate
from autobatch.records import (
    Confidence,
    Doubt,
    Goal,
    SizeEstimate,
    ThroughputCurve,
    TimingDecision,
    Trial,
)

_NUM_DRAWS = 2000
# Ends of an interval of 90 %, in standard errors.
_INTERVAL = 1.645
#: What is taken where nobody says which size they train with, and nothing can be told apart.
USUAL_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a decision is to answer.

    Attributes:
        goal: What the size is to be best at.
        tolerance_fraction: How far below the best throughput the answer may lie.
        your_batch_size: The size that the user trains with now, if anybody said.
        worth: What a sample is worth at a batch size, against one at another, where that is
            known: throughput times this is what ``Goal.EFFICIENCY`` maximises.
        worth_reason: Why the size with the highest product is the answer, in one sentence.
        numbers: Tuned numbers.
    """

    goal: Goal
    tolerance_fraction: float
    your_batch_size: int | None = None
    worth: Callable[[int], float] | None = None
    worth_reason: str = ""
    numbers: Numbers = NUMBERS

    def value(self, rates: Rates) -> Rates:
        """Throughputs times what their samples are worth, where that is known."""
        if self.worth is None:
            return rates
        return rates.scaled({size: self.worth(size) for size in rates.sizes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is known of the sizes that ran and fitted.

    Attributes:
        asked: What was to be decided.
        rates: Throughputs, with what is known of the curve through them.
        curve: Step time against batch size; ``None`` with fewer than three sizes.
        noise_fraction: Scatter of this machine from run to run, learned from these trials.
        knee: Smallest size within the tolerance of the best throughput, as far as can be told.
        within: By size, how likely it is within the tolerance of the best.
        right: By size, how likely it is the smallest of those that are.
        risk: By size, how likely it falls short of the best by more than twice the tolerance.
        to_race: Sizes to time again, in turn; empty once none may change the answer.
    """

    asked: Asked
    rates: Rates
    curve: ThroughputCurve | None
    noise_fraction: float
    knee: int
    within: Mapping[int, float]
    right: Mapping[int, float]
    risk: Mapping[int, float]
    to_race: tuple[int, ...]

    @property
    def answer(self) -> int:
        """The size to train with, memory and global batch aside.

        The user's own where it is within the tolerance of the best; else the knee.
        """
        values = self.asked.value(self.rates)
        if values is not self.rates:
            return values.best()
        yours = self.asked.your_batch_size
        return yours if yours is not None and self.is_within(yours) else self.knee

    def is_within(self, size: int) -> bool:
        """Whether a size is estimated to be within the tolerance of the best."""
        if size not in self.rates.sizes:
            return False
        log_ratio, _ = self.rates.log_ratio(size, self.rates.best())
        return log_ratio >= math.log1p(-self.asked.tolerance_fraction)

    def is_sure_of(self, size: int) -> bool:
        """Whether a size is within twice the tolerance of the best, as good as surely."""
        return self.risk.get(size, 1.0) <= 1 - self.asked.numbers.decided

    @property
    def candidates(self) -> tuple[int, ...]:
        """Sizes that may be the smallest within the tolerance of the best."""
        least = (1 - self.asked.numbers.decided) / 2
        return tuple(size for size in self.rates.sizes if self.right[size] >= least)

    @property
    def is_rising(self) -> bool:
        """Whether the largest size is faster than all before it by more than the tolerance."""
        *before, last = self.rates.sizes or (0,)
        if not before:
            return True
        best = max(before, key=self.rates.log_rate)
        log_ratio, _ = self.rates.log_ratio(last, best)
        return log_ratio > math.log1p(self.asked.tolerance_fraction)

    def to_record(
        self, chosen: int, trials: Mapping[int, Trial], doubts: tuple[Doubt, ...] = ()
    ) -> TimingDecision:
        """The record of it, for the size that was settled on.

        Args:
            chosen: The recommended size.
            trials: The trials that the decision was made from.
            doubts: What speaks against it beside the scatter of the timings.
        """
        is_about_time = self.asked.goal is not Goal.MEMORY
        if is_about_time and not self.is_sure_of(self.answer):
            doubts = (Doubt.NOISE, *doubts)
        return TimingDecision(
            estimates=tuple(self._estimate(size, trials[size]) for size in self.rates.sizes),
            knee=self.knee,
            candidates=self.candidates,
            your_batch_size=self.asked.your_batch_size,
            noise_fraction=self.noise_fraction,
            confidence=Confidence.LOW if doubts else Confidence.HIGH,
            doubts=doubts,
        )

    def _estimate(self, size: int, trial: Trial) -> SizeEstimate:
        rates, index = self.rates, self.rates.sizes.index(size)
        error = _INTERVAL * math.sqrt(max(0.0, float(rates.covariance[index, index])))
        log_ratio, ratio_error = rates.log_ratio(size, rates.best())
        samples_per_s = math.exp(rates.log_rate(size))
        return SizeEstimate(
            batch_size=size,
            samples_per_s=samples_per_s,
            low=samples_per_s * math.exp(-error),
            high=samples_per_s * math.exp(error),
            vs_best_fraction=math.exp(log_ratio),
            vs_best_low=math.exp(log_ratio - _INTERVAL * ratio_error),
            vs_best_high=math.exp(log_ratio + _INTERVAL * ratio_error),
            num_steps=len(trial.step_times_s),
            right_fraction=self.right[size],
        )


def decide(fitting: Mapping[int, Trial], asked: Asked) -> Decision:
    """Decide from the trials that fitted.

    Args:
        fitting: Trials that fitted, by batch size; at least one of them timed.
        asked: What to decide.
    """
    numbers, tolerance = asked.numbers, asked.tolerance_fraction
    timings = estimate(fitting, numbers)
    rates = timings.rates
    draws = _draw(rates)
    behind = draws - draws.max(axis=1, keepdims=True)
    is_within = behind >= math.log1p(-tolerance)
    first = np.argmax(is_within, axis=1)
    within = dict(zip(rates.sizes, is_within.mean(axis=0), strict=True))
    right = {size: float(np.mean(first == index)) for index, size in enumerate(rates.sizes)}
    risks = (np.exp(behind) < 1 - 2 * tolerance).mean(axis=0)
    knee = _find_knee(rates, within, asked)
    if asked.worth is not None:
        to_race = _find_challengers(asked.value(rates), asked)
    else:
        to_race = _find_doubtful(rates, right, knee, asked)
    return Decision(
        asked=asked,
        rates=rates,
        curve=timings.curve,
        noise_fraction=timings.noise_fraction,
        knee=knee,
        within=within,
        right=right,
        risk=dict(zip(rates.sizes, map(float, risks), strict=True)),
        to_race=to_race,
    )


def _draw(rates: Rates) -> np.ndarray:
    """Log rates drawn from what is believed, shape ``(draws, sizes)``; the same every time."""
    count = len(rates.sizes)
    values, vectors = np.linalg.eigh(rates.covariance)
    root = vectors * np.sqrt(np.maximum(0.0, values))
    normal = np.random.default_rng(0).standard_normal((_NUM_DRAWS, count))
    return np.asarray(rates.logs + normal @ root.T)


def _find_knee(rates: Rates, within: Mapping[int, float], asked: Asked) -> int:
    """The smallest size that is likely within the tolerance of the best, and estimated to be.

    An answer that is too small costs time at every step, one that is too large costs memory
    that is there: that it is within the tolerance must be more likely than not.
    """
    best, threshold = rates.best(), math.log1p(-asked.tolerance_fraction)
    for size in rates.sizes:
        is_estimated = rates.log_ratio(size, best)[0] >= threshold
        if is_estimated and within[size] >= asked.numbers.likely:
            return size
    return best


def _find_doubtful(
    rates: Rates, right: Mapping[int, float], knee: int, asked: Asked
) -> tuple[int, ...]:
    """Sizes that may be the smallest within the tolerance, the knee and the fastest with them.

    One whose ratio to the knee is known to a fraction of the tolerance is in doubt no more:
    whichever side of the threshold it lies on, it lies close to it.
    """
    numbers = asked.numbers
    if max(right.values()) >= numbers.decided:
        return ()
    best = rates.best()
    known = numbers.close_enough * asked.tolerance_fraction
    doubtful = [
        size
        for size in sorted(right, key=right.__getitem__, reverse=True)
        if right[size] >= (1 - numbers.decided) / 2
        and max(rates.log_ratio(size, best)[1], rates.log_ratio(size, knee)[1]) > known
    ]
    if not doubtful:
        return ()
    racing = list(dict.fromkeys((knee, best, *doubtful)))[: numbers.max_racing]
    return tuple(sorted(racing)) if len(racing) > 1 else ()


def _find_challengers(values: Rates, asked: Asked) -> tuple[int, ...]:
    """Sizes that might beat the best by more than the tolerance, and the best with them."""
    numbers, best = asked.numbers, values.best()
    probability = (_draw(values) - _draw(values)[:, [values.sizes.index(best)]]) > math.log1p(
        asked.tolerance_fraction
    )
    challengers = [
        size
        for size, chance in zip(values.sizes, probability.mean(axis=0), strict=True)
        if chance >= (1 - numbers.decided) / 2
        and values.log_ratio(size, best)[1] > numbers.close_enough * asked.tolerance_fraction
    ]
    closest = sorted(challengers, key=values.log_rate, reverse=True)
    return tuple(sorted([best, *closest][: numbers.max_racing])) if closest else ()

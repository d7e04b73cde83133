"""What the trials that fitted show: how fast each size is, the answer, and how sure it is.

Everything that the search, the report and the warnings say about throughput comes from one
``Decision``, which ``decide`` makes from one set of trials.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from autobatch.decide.numbers import NUMBERS, Numbers
from autobatch.decide.rates import NORMAL_90, Rates, Timings, estimate
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
#: The fallback when sizes cannot be told apart and the user has named none.
USUAL_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to decide.

    Attributes:
        goal: What the size should be best at.
        tolerance_fraction: How far below the best throughput the answer may lie.
        your_batch_size: The size that the user trains with now, if known.
        worth: Value of a sample at a batch size, relative to other sizes, if known:
            ``Goal.EFFICIENCY`` maximises throughput times this.
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
        """Throughputs times the value of a sample, if that is known."""
        if self.worth is None:
            return rates
        return rates.scaled({size: self.worth(size) for size in rates.sizes})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is known about the sizes that ran and fitted.

    Attributes:
        asked: What was to be decided.
        rates: Estimated throughputs and their covariance.
        curve: Step time against batch size; ``None`` with fewer than three sizes.
        noise_fraction: Run-to-run standard deviation on this machine, learned from these trials.
        knee: Smallest size that is likely within the tolerance of the best throughput.
        within: By size, the probability that it is within the tolerance of the best.
        right: By size, the probability that it is the smallest of those that are.
        risk: By size, the probability that it is slower than the best by more than twice the
            tolerance, where the curve may have terms that noise hides: a fit without a latency says
            that no size can be slow, however little was seen.
        to_race: Sizes to time again, in turn; empty once more timing would not change the
            answer.
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
        """Whether a size is almost certainly within twice the tolerance of the best."""
        return self.risk.get(size, 1.0) <= 1 - self.asked.numbers.decided

    @property
    def candidates(self) -> tuple[int, ...]:
        """Sizes with a fair chance of being the smallest within the tolerance of the best."""
        least = (1 - self.asked.numbers.decided) / 2
        return tuple(size for size in self.rates.sizes if self.right[size] >= least)

    @property
    def is_rising(self) -> bool:
        """Whether the largest size is faster than all before it by more than the tolerance."""
        return self._lead_of_largest()[0] > math.log1p(self.asked.tolerance_fraction)

    @property
    def may_rise(self) -> bool:
        """Whether the largest size may be faster than all before it, within its error."""
        return sum(self._lead_of_largest()) > math.log1p(self.asked.tolerance_fraction)

    def _lead_of_largest(self) -> tuple[float, float]:
        """Log ratio of the largest size to the best of those before it, and its error."""
        if len(self.rates.sizes) < 2:
            return math.inf, 0.0
        *before, last = self.rates.sizes
        return self.rates.log_ratio(last, max(before, key=self.rates.log_rate))

    def to_record(
        self, chosen: int, trials: Mapping[int, Trial], doubts: tuple[Doubt, ...] = ()
    ) -> TimingDecision:
        """Make the record of this decision.

        Args:
            chosen: The recommended size.
            trials: The trials that the decision was made from.
            doubts: Reasons for low confidence other than timing noise.
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
        error = NORMAL_90 * math.sqrt(max(0.0, float(rates.covariance[index, index])))
        log_ratio, ratio_error = rates.log_ratio(size, rates.best())
        samples_per_s = math.exp(rates.log_rate(size))
        return SizeEstimate(
            batch_size=size,
            samples_per_s=samples_per_s,
            low=samples_per_s * math.exp(-error),
            high=samples_per_s * math.exp(error),
            vs_best_fraction=math.exp(log_ratio),
            vs_best_low=math.exp(log_ratio - NORMAL_90 * ratio_error),
            vs_best_high=math.exp(log_ratio + NORMAL_90 * ratio_error),
            num_steps=len(trial.step_times_s),
            right_fraction=self.right[size],
        )


def decide(fitting: Mapping[int, Trial], asked: Asked) -> Decision:
    """Decide from the trials that fitted.

    Args:
        fitting: Trials that fitted, by batch size; at least one of them timed.
        asked: What to decide.

    Returns:
        Throughputs, the knee, the probabilities and the sizes to race.
    """
    numbers, tolerance = asked.numbers, asked.tolerance_fraction
    timings = estimate(fitting, numbers)
    rates = timings.rates
    behind = _behind_best(rates)
    is_within = behind >= math.log1p(-tolerance)
    first = np.argmax(is_within, axis=1)
    within = dict(zip(rates.sizes, is_within.mean(axis=0), strict=True))
    right = {size: float(np.mean(first == index)) for index, size in enumerate(rates.sizes)}
    risks = (np.exp(_behind_best(timings.doubtful)) < 1 - 2 * tolerance).mean(axis=0)
    knee = _find_knee(rates, within, asked)
    if asked.worth is not None:
        to_race = _find_challengers(asked.value(rates), asked)
    else:
        to_race = _find_doubtful(rates, right, knee, asked)
        is_repeated = any(len(trial.rounds) > 1 for trial in fitting.values())
        unseen = () if to_race or is_repeated else _find_unseen(timings, right, knee, asked)
        off = {each for each in timings.outlying if within[each] >= (1 - numbers.decided) / 2}
        racing = {*to_race, *unseen, *off, *((knee, rates.best()) if off else ())}
        to_race = tuple(sorted(racing)) if len(racing) > 1 else ()
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


def _behind_best(rates: Rates) -> np.ndarray:
    """Posterior samples of log rates over the best, shape ``(draws, sizes)``; always the same."""
    count = len(rates.sizes)
    values, vectors = np.linalg.eigh(rates.covariance)
    root = vectors * np.sqrt(np.maximum(0.0, values))
    normal = np.random.default_rng(0).standard_normal((_NUM_DRAWS, count))
    draws = rates.logs + normal @ root.T
    return np.asarray(draws - draws.max(axis=1, keepdims=True))


def _find_knee(rates: Rates, within: Mapping[int, float], asked: Asked) -> int:
    """The smallest size that is likely within the tolerance of the best, and estimated to be.

    Too small an answer costs time at every step; too large a one costs memory that is free
    anyway. So the answer must be within the tolerance with a probability close to the highest.
    """
    best, threshold = rates.best(), math.log1p(-asked.tolerance_fraction)
    least = asked.numbers.likely * max(within.values())
    for size in rates.sizes:
        is_estimated = rates.log_ratio(size, best)[0] >= threshold
        if is_estimated and within[size] >= least:
            return size
    return best


def _find_doubtful(
    rates: Rates, right: Mapping[int, float], knee: int, asked: Asked
) -> tuple[int, ...]:
    """Sizes that may be the smallest within the tolerance, together with the knee and the best.

    A size is settled once its ratios to the best and to the knee are known to a fraction of the
    tolerance: whichever side of the threshold it lies on, it is close to it.
    """
    numbers = asked.numbers
    if max(right.values()) >= numbers.decided:
        return ()
    best = rates.best()
    known = numbers.close_enough * asked.tolerance_fraction
    doubtful = [
        size
        for size in rates.sizes
        if right[size] >= (1 - numbers.decided) / 2
        and max(rates.log_ratio(size, best)[1], rates.log_ratio(size, knee)[1]) > known
    ]
    if not doubtful:
        return ()
    racing = {knee, best, *doubtful}
    return tuple(sorted(racing)) if len(racing) > 1 else ()


def _find_unseen(
    timings: Timings, right: Mapping[int, float], knee: int, asked: Asked
) -> tuple[int, ...]:
    """The sizes to time twice where noise was inferred and never seen.

    With one cell of each size, a curve that fits poorly and a noisy machine look the same. One
    round tells them apart, unless the noise is too small to matter.
    """
    numbers, rates = asked.numbers, timings.rates
    if timings.noise_fraction <= numbers.close_enough * asked.tolerance_fraction:
        return ()
    likely = sorted(right, key=right.__getitem__, reverse=True)[:3]
    racing = {knee, rates.best(), *likely}
    return tuple(sorted(racing)) if len(racing) > 1 else ()


def _find_challengers(values: Rates, asked: Asked) -> tuple[int, ...]:
    """Sizes that may beat the best by more than the tolerance, together with the best."""
    numbers, best = asked.numbers, values.best()
    behind = _behind_best(values)
    ahead = behind - behind[:, [values.sizes.index(best)]]
    probability = ahead > math.log1p(asked.tolerance_fraction)
    challengers = [
        size
        for size, chance in zip(values.sizes, probability.mean(axis=0), strict=True)
        if chance >= (1 - numbers.decided) / 2
        and values.log_ratio(size, best)[1] > numbers.close_enough * asked.tolerance_fraction
    ]
    return tuple(sorted({best, *challengers})) if challengers else ()

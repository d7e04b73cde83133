"""When larger sizes need not run: small rules, each with one threshold.

A rule reads a ``Decision`` and says whether the climb may end. ``has_levelled_off`` combines them,
after the reasons to continue regardless.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from autobatch.decide.decision import USUAL_BATCH_SIZE, Decision

# Two to warm up, and one that is timed.
STEPS_OF_A_TRIAL = 3


@dataclass(frozen=True, slots=True)
class Flat:
    """The last two doublings gained almost nothing.

    If the step time is ``latency + per_sample * b``, a gain of less than a fraction ``g`` over two
    doublings leaves less than ``g / 3`` to gain from all further ones. A curve that is flat first
    and rises later misleads it.

    Attributes:
        gain: As a multiple of the tolerance.
    """

    gain: float

    def applies(self, decision: Decision) -> bool:
        """Whether the best of the last two doublings is no faster than the best before."""
        rates = decision.rates
        base = max((size for size in rates.sizes if size * 4 <= rates.sizes[-1]), default=None)
        if base is None:
            return False
        before = max(rates.log_rate(size) for size in rates.sizes if size <= base)
        since = max(rates.log_rate(size) for size in rates.sizes if size > base)
        return since <= before + math.log1p(self.gain * decision.asked.tolerance_fraction)


@dataclass(frozen=True, slots=True)
class NothingAhead:
    """The curve through all sizes predicts almost no gain beyond them.

    It applies only if the curve fits the sizes well.

    Attributes:
        gain: As a multiple of the tolerance.
        doublings: How far ahead to look.
    """

    gain: float
    doublings: int

    def applies(self, decision: Decision) -> bool:
        """Whether the curve has no larger size that is faster than the best by more than that."""
        curve, sizes = decision.curve, decision.rates.sizes
        if curve is None or not curve.is_good:
            return False
        best = max(map(curve.samples_per_s, sizes))
        ahead = max(
            curve.samples_per_s(sizes[-1] * 2**power) for power in range(1, self.doublings + 1)
        )
        return ahead <= (1 + self.gain * decision.asked.tolerance_fraction) * best


def has_levelled_off(decision: Decision) -> bool:
    """Whether throughput has levelled off, so that larger sizes need not run."""
    numbers, sizes = decision.asked.numbers, decision.rates.sizes
    # A single sample, or a few, often take a code path of their own.
    if len(sizes) < 2 or sizes[-1] < USUAL_BATCH_SIZE or _rises(decision):
        return False
    if is_dear(decision) and NothingAhead(gain=numbers.flat_gain, doublings=6).applies(decision):
        return True  # the doublings that would show it cost more than they are worth
    if NothingAhead(gain=numbers.ahead_gain, doublings=6).applies(decision):
        return Flat(gain=1.0).applies(decision)
    has_promise = decision.curve is not None and decision.curve.is_good
    if has_promise and not NothingAhead(gain=numbers.flat_gain, doublings=1).applies(decision):
        return False
    return Flat(gain=numbers.flat_gain).applies(decision)


def is_dear(decision: Decision) -> bool:
    """Whether a trial of twice the largest size takes long."""
    last = decision.rates.sizes[-1]
    trial_s = STEPS_OF_A_TRIAL * 2 * last / math.exp(decision.rates.log_rate(last))
    return trial_s > decision.asked.numbers.dear_trial_s


def _rises(decision: Decision) -> bool:
    """Whether the largest size is faster than the one before it by more than the tolerance."""
    *_, before, last = decision.rates.sizes
    log_ratio, _ = decision.rates.log_ratio(last, before)
    return log_ratio > math.log1p(decision.asked.tolerance_fraction)

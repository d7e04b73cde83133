"""Whether a larger batch would still be faster."""

from __future__ import annotations

import math

from autobatch.decide.rates import Rates
from autobatch.records import ThroughputCurve

# A single sample, or a few, often take a code path of their own; going on costs next to nothing.
_FEW_SAMPLES = 16
_SHORT_STEP_S = 0.05
_NUM_DOUBLINGS_AHEAD = 6
_FALLEN_RATIO = 0.9
_SURE = 1.5
# Twice the size takes six seconds and more, where the curve rests on steps long enough to be exact.
_LONG_STEP_S = 1.0


def is_on_plateau(
    rates: Rates, curve: ThroughputCurve | None, *, tolerance_fraction: float
) -> bool:
    """Whether throughput has been flat or falling over the last two doublings, or will be.

    If the step time is ``latency + per_sample * b``, a gain of less than the tolerance over
    two doublings leaves less than a third of it to gain by all further ones. Half of the
    tolerance is asked, since what was measured is uncertain; the whole will do where the curve
    through all sizes promises next to nothing beyond them, or the last one fell far behind. Where
    steps take long, that promise alone will do: the doublings that would show it cost more than
    all that came before.

    Args:
        rates: Of the sizes that ran.
        curve: Fitted step time, ``None`` if there is none.
        tolerance_fraction: How far below the best throughput an answer may lie.
    """
    last = rates.sizes[-1]
    base = next((size for size in reversed(rates.sizes) if size * 4 <= last), None)
    if base is None or _is_only_the_start(rates):
        return False
    promise = None
    if curve is not None and curve.is_good:
        # Two sizes may look alike by chance; the latency that the curve finds in all of them
        # together says what further doublings would still bring.
        best = max(map(curve.samples_per_s, rates.sizes))
        if curve.samples_per_s(2 * last) > (1 + tolerance_fraction / 2) * best:
            return False
        promise = max(map(curve.samples_per_s, _sizes_ahead(last))) / best
    is_exhausted = promise is not None and promise <= 1 + tolerance_fraction / 2
    if is_exhausted and _last_step_time_s(rates) > _LONG_STEP_S:
        return True
    before = max(rates.log_rate(size) for size in rates.sizes if size <= base)
    since = max(rates.log_rate(size) for size in rates.sizes if size > base)
    gain_fraction = tolerance_fraction / (1 if is_exhausted or _has_fallen(rates) else 2)
    return since <= before + math.log1p(gain_fraction)


def _is_only_the_start(rates: Rates) -> bool:
    return rates.sizes[-1] < _FEW_SAMPLES and _last_step_time_s(rates) < _SHORT_STEP_S


def _last_step_time_s(rates: Rates) -> float:
    last = rates.sizes[-1]
    return last / math.exp(rates.log_rate(last))


def _sizes_ahead(last: int) -> list[int]:
    return [last * 2**power for power in range(1, _NUM_DOUBLINGS_AHEAD + 1)]


def _has_fallen(rates: Rates) -> bool:
    log_ratio, error = rates.log_ratio(rates.sizes[-1], rates.best())
    return log_ratio + _SURE * error < math.log(_FALLEN_RATIO)

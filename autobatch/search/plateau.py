"""Whether a larger batch would still be faster."""

from __future__ import annotations

import math

from autobatch.curves.rates import Rates
from autobatch.records import ThroughputCurve


def is_on_plateau(
    rates: Rates, curve: ThroughputCurve | None, *, tolerance_fraction: float
) -> bool:
    """Whether throughput has been flat or falling over the last two doublings.

    If the step time is ``latency + per_sample * b``, a gain of less than the tolerance over
    two doublings leaves less than a third of it to gain by all further ones.

    Args:
        rates: Of the sizes that ran.
        curve: Fitted step time, ``None`` if there is none.
        tolerance_fraction: How far below the best throughput an answer may lie.
    """
    sizes = rates.sizes
    if curve is not None and curve.is_good:
        # Two sizes may look alike by chance; the latency that the curve finds in all of them
        # together says what a further doubling would still bring.
        promise = curve.samples_per_s(2 * sizes[-1]) / max(map(curve.samples_per_s, sizes))
        if promise > 1 + tolerance_fraction / 2:
            return False
    base = next((size for size in reversed(sizes) if size * 4 <= sizes[-1]), None)
    if base is None:
        return False
    before = max(rates.log_rate(size) for size in sizes if size <= base)
    since = max(rates.log_rate(size) for size in sizes if size > base)
    return since <= before + math.log1p(tolerance_fraction / 2)

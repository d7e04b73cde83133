"""Which sizes to time again, in turn, before deciding between them."""

from __future__ import annotations

import math

from autobatch.curves.rates import Rates

_MAX_CONTESTANTS = 4
_DOUBT = 1.5


def find_contestants(rates: Rates, *, knee: int, tolerance_fraction: float) -> tuple[int, ...]:
    """Sizes whose timings leave open whether the knee is the right one.

    A smaller size is in doubt if it might be within the tolerance of the best after all; a
    larger one, if it might be faster than the knee by more than the tolerance. "Might" means
    by one and a half standard errors. Knee and best are timed along with them, since they are
    what the others are held against.

    Args:
        rates: Of the sizes that ran; of the epoch where a data set's size is known.
        knee: The size that would be chosen now.
        tolerance_fraction: How far below the best throughput the knee may lie.

    Returns:
        Sizes to time in turn, ascending; empty once nothing is open.
    """
    best = rates.best()
    threshold = math.log1p(-tolerance_fraction)
    doubts: dict[int, float] = {}
    for size in rates.sizes:
        if size < knee:
            log_ratio, error = rates.log_ratio(size, best)
            doubts[size] = (threshold - log_ratio) / max(error, 1e-9)
        elif size > knee:
            log_ratio, error = rates.log_ratio(size, knee)
            doubts[size] = (-threshold - log_ratio) / max(error, 1e-9)
    doubtful = sorted((size for size in doubts if doubts[size] < _DOUBT), key=doubts.__getitem__)
    if not doubtful:
        return ()
    contestants = dict.fromkeys((knee, best, *doubtful))
    return tuple(sorted(list(contestants)[:_MAX_CONTESTANTS]))


def find_challengers(rates: Rates, *, tolerance_fraction: float) -> tuple[int, ...]:
    """Sizes that might beat the best by more than the tolerance, and the best with them.

    Args:
        rates: Of what is to be highest, such as goodputs.
        tolerance_fraction: How far below the best the answer may lie.

    Returns:
        Sizes to time in turn, ascending; empty once none might.
    """
    best = rates.best()
    doubts = {}
    for size in rates.sizes:
        log_ratio, error = rates.log_ratio(size, best)
        if size != best and log_ratio + _DOUBT * error > -math.log1p(-tolerance_fraction):
            doubts[size] = log_ratio
    if not doubts:
        return ()
    closest = sorted(doubts, key=doubts.__getitem__, reverse=True)
    return tuple(sorted([best, *closest][:_MAX_CONTESTANTS]))

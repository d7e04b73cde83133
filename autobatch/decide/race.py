"""Which sizes to time again, in turn, before deciding between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from autobatch.decide.rates import Rates

_MAX_CONTESTANTS = 6
_DOUBT = 2.5
# A ratio that is known this well, as a share of the tolerance, is not worth more timing: whichever
# side of the threshold it lies on, it lies close to it.
_CLOSE_ENOUGH = 1 / 4
# A size that costs more per round takes part in fewer of them.
_FAIR_SHARE = 4
# A smaller size that is closer to the threshold than this share of the tolerance may be the answer
# or not: it costs memory, no time, to leave it out.
_INDIFFERENT = 0.5


def find_contestants(rates: Rates, *, knee: int, tolerance_fraction: float) -> tuple[int, ...]:
    """Sizes whose timings leave open whether the knee is the right one.

    A smaller size is in doubt if it might be well within the tolerance of the best after all; a
    larger one, if it might be faster than the knee by more than the tolerance. "Might" means
    by two and a half standard errors; a ratio that is known to a quarter of the tolerance is in
    doubt no more. Knee and best are timed along with them, since they are what the others are
    held against.

    Args:
        rates: Of the sizes that ran; of the epoch where a dataset's size is known.
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
            distance = (1 - _INDIFFERENT) * threshold - log_ratio
        elif size > knee:
            log_ratio, error = rates.log_ratio(size, knee)
            distance = -threshold - log_ratio
        else:
            continue
        if error > _CLOSE_ENOUGH * tolerance_fraction:
            doubts[size] = distance / error
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
        if error <= _CLOSE_ENOUGH * tolerance_fraction:
            continue
        if log_ratio + _DOUBT * error > -math.log1p(-tolerance_fraction):
            doubts[size] = log_ratio
    if not doubts:
        return ()
    closest = sorted(doubts, key=doubts.__getitem__, reverse=True)
    return tuple(sorted([best, *closest][:_MAX_CONTESTANTS]))


def share_out(contestants: Sequence[int], spent_s: Mapping[int, float]) -> tuple[int, ...]:
    """Who of the contestants takes part in the next round.

    A round of a large size can cost as much as ten of a small one. The one that less time went
    into takes part, with all that have not had several times as much; two at the least, since
    it is their ratio that is asked.

    Args:
        contestants: Sizes in doubt and what they are held against.
        spent_s: Seconds that went into timing each so far.

    Returns:
        Sizes to time in turn, ascending.
    """
    by_time = sorted(contestants, key=lambda size: spent_s.get(size, 0.0))
    most_s = _FAIR_SHARE * spent_s.get(by_time[0], 0.0)
    fair = [size for size in by_time if spent_s.get(size, 0.0) <= most_s]
    return tuple(sorted({*by_time[:2], *fair}))

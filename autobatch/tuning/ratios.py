"""Throughput over that of other settings, by rounds in which both ran in turn."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from autobatch.decide.rates import NORMAL_90

#: What gains less than this is not worth a setting more.
LEAST_GAIN_FRACTION = 0.02
# A gain takes as many rounds: a moment in which others slow one side can look like one.
_ROUNDS_OF_GAIN, _ROUNDS_OF_LOSS = 3, 2
# Standard errors between a ratio and what it is compared with, from which it is clear.
_CLEAR = 2.0


def is_clear(ratios: Sequence[float], noise_fraction: float) -> bool:
    """Whether rounds leave no doubt on which side of the least gain their ratio lies.

    Args:
        ratios: Throughput over that of the start, by round.
        noise_fraction: As of ``interval_of``.
    """
    mean, error = _mean_and_error(ratios, noise_fraction)
    gain = mean - math.log1p(LEAST_GAIN_FRACTION)
    is_enough = len(ratios) >= (_ROUNDS_OF_LOSS if gain < 0 else _ROUNDS_OF_GAIN)
    return is_enough and abs(gain) > _CLEAR * error


def smallest_as_fast(rates: Mapping[int, float]) -> int:
    """The smallest size whose throughput is within the least gain of the highest.

    Args:
        rates: Throughput by batch size, in any unit; at least one.
    """
    least = (1 - LEAST_GAIN_FRACTION) * max(rates.values())
    return min(size for size, rate in rates.items() if rate >= least)


def interval_of(ratios: Sequence[float], noise_fraction: float) -> tuple[float, float]:
    """A 90 % interval of ``mean_of`` ratios.

    Args:
        ratios: Of rounds in which both were timed; at least one.
        noise_fraction: Standard deviation of the log of a throughput on this machine.
    """
    mean, error = _mean_and_error(ratios, noise_fraction)
    return math.exp(mean - NORMAL_90 * error), math.exp(mean + NORMAL_90 * error)


def mean_of(ratios: Sequence[float]) -> float:
    """Geometric mean of ratios; of three or more without the lowest and the highest.

    A moment in which others take the cores makes one round worth nothing.

    Args:
        ratios: Of rounds, at least one.
    """
    logs = sorted(math.log(each) for each in ratios)
    return math.exp(statistics.mean(logs[1:-1] if len(logs) > 2 else logs))


def _mean_and_error(ratios: Sequence[float], noise_fraction: float) -> tuple[float, float]:
    """The log of the mean, and its standard error.

    That of a trimmed mean is Yuen's (Biometrika 61, 1974): the deviation of the values with the
    extremes moved to their neighbours, over the fraction that is left and the root of the number.
    """
    logs = sorted(math.log(each) for each in ratios)
    count, left = len(logs), max(1, len(logs) - 2) if len(logs) > 2 else len(logs)
    error = math.sqrt(2) * noise_fraction / math.sqrt(left)
    if count in (2, 3):  # moved to their neighbour, all would be one
        error = max(error, statistics.stdev(logs) / math.sqrt(count))
    elif count > 3:
        moved = [logs[1], *logs[1:-1], logs[-2]]
        error = max(error, statistics.stdev(moved) * math.sqrt(count) / left)
    return math.log(mean_of(ratios)), error

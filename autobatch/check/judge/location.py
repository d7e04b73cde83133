"""Where the rounds of a measurement lie, and how well that is known.

Steps of one round are disturbed alike: what disturbs a machine lasts longer than a step. So a
round counts as one observation, the log of its median step time, however many steps it has.
Rounds are summarised by their trimmed mean with the winsorised variance (Tukey and McLaughlin
1963; two samples: Yuen 1974), which a burst in some of the rounds does not move, and the error is
widened by the correlation of neighbouring rounds that is left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

_TRIMMED_FRACTION = 0.2
_MAX_CORRELATION = 0.8
# No machine repeats itself better than this.
_SMALLEST_ERROR = 0.002


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    """The middle of some logs.

    Attributes:
        center: Trimmed mean.
        error: Its standard error.
        degrees_of_freedom: Of the error.
    """

    center: float
    error: float
    degrees_of_freedom: float

    def interval(self, alpha: float) -> tuple[float, float]:
        """Ends of an interval that misses the truth on either side with probability ``alpha``."""
        reach = -float(stdtrit(self.degrees_of_freedom, alpha)) * self.error
        return self.center - reach, self.center + reach

    def minus(self, other: Location, *, drift: float = 0.0) -> Location:
        """The difference of two locations (Welch 1947).

        Args:
            other: What to subtract; measured at another time.
            drift: Standard deviation of what may have changed in between on its own.
        """
        own, others = self.error**2, other.error**2
        total = own + others + drift**2
        degrees_of_freedom = total**2 / (
            own**2 / self.degrees_of_freedom + others**2 / other.degrees_of_freedom
        )
        return Location(
            center=self.center - other.center,
            error=math.sqrt(total),
            degrees_of_freedom=degrees_of_freedom,
        )


def locate(logs: Sequence[float]) -> Location:
    """Locate some rounds.

    Args:
        logs: One number per round, in the order they were measured; at least three.
    """
    values = np.asarray(logs, dtype=float)
    count = len(values)
    num_trimmed = int(_TRIMMED_FRACTION * count)
    num_kept = count - 2 * num_trimmed
    ordered = np.sort(values)
    kept = ordered[num_trimmed : count - num_trimmed]
    winsorised = np.clip(values, kept[0], kept[-1])
    variance = float(np.var(winsorised, ddof=1)) * (count - 1) / (num_kept * (num_kept - 1))
    correlation = _correlation_of_neighbours(winsorised)
    variance *= (1 + correlation) / (1 - correlation)
    return Location(
        center=float(np.mean(kept)),
        error=max(_SMALLEST_ERROR, math.sqrt(variance)),
        degrees_of_freedom=num_kept - 1,
    )


def _correlation_of_neighbours(values: np.ndarray) -> float:
    """Not below 0; its estimate is too low by about 1 / n (Kendall 1954)."""
    deviations = values - values.mean()
    total = float(deviations @ deviations)
    if total <= 0:
        return 0.0
    raw = float(deviations[:-1] @ deviations[1:]) / total + 1 / len(values)
    return min(_MAX_CORRELATION, max(0.0, raw))

"""Estimates from the timings of a search, and how sure they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Confidence(str, Enum):
    """How sure the answer is."""

    HIGH = "high"
    LOW = "low"


class Doubt(str, Enum):
    """Why confidence is low."""

    #: The timings scatter too much to tell the throughputs apart.
    NOISE = "noise"
    #: The search ended while throughput was rising.
    STILL_RISING = "still_rising"
    #: The final run was slower or faster than estimated, by more than chance.
    CONTRADICTED = "contradicted"


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeEstimate:
    """The throughput of one size as the decision used it. Intervals are of 90 %.

    Attributes:
        batch_size: Samples per pass.
        samples_per_s: Estimated throughput.
        low: Lower end of its interval, in samples per second.
        high: Upper end.
        vs_best_fraction: Throughput over that of the fastest size.
        vs_best_low: Lower end of its interval.
        vs_best_high: Upper end; above 1 where the size may be the fastest.
        num_steps: Timed steps behind the estimate.
        right_fraction: Probability that this is the smallest size within the tolerance of the
            fastest.
    """

    batch_size: int
    samples_per_s: float
    low: float
    high: float
    vs_best_fraction: float
    vs_best_low: float
    vs_best_high: float
    num_steps: int
    right_fraction: float

    @property
    def step_time_s(self) -> float:
        """Time of a pass at that throughput."""
        return self.batch_size / self.samples_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingDecision:
    """What was decided, and on which figures; the report shows these and no others.

    Attributes:
        estimates: One for each size that ran, fitted and was timed, ascending.
        knee: Smallest size that is likely within the tolerance of the best throughput.
        candidates: Sizes with a fair chance of being the smallest such size.
        your_batch_size: The size that the user trains with now; ``None`` if unknown.
        noise_fraction: How much this machine's timings scattered from run to run: standard
            deviation of the log of throughput.
        confidence: High if the answer is almost certainly within twice the tolerance of the
            fastest.
        doubts: Why it is low, if it is.
    """

    estimates: tuple[SizeEstimate, ...]
    knee: int
    candidates: tuple[int, ...]
    your_batch_size: int | None
    noise_fraction: float
    confidence: Confidence
    doubts: tuple[Doubt, ...] = ()

    def estimate_of(self, batch_size: int) -> SizeEstimate | None:
        """The estimate of a size; ``None`` if it was not timed."""
        found = (each for each in self.estimates if each.batch_size == batch_size)
        return next(found, None)

"""How much of what moves a reference moves the target as well.

What a neighbour on the machine does to a built-in reference it does to the target, but seldom as
much: one lives in the cache that is taken away, the other does not. So the time of the reference
is a covariate of the target's and not its measure (analysis of covariance, Fisher 1932). The slope
of one on the other is taken from what both did within each session, where the target was the same
throughout, and is held against what other targets taught of it; how uncertain it stays counts by
how far the reference has moved between the sessions.

What disturbs one round of the reference alone says nothing of the slope and would flatten it. So
each part of a session is weighed by what the reference did just before and after it (the method
of instrumental variables, Reiersøl 1945): only what lasts for several rounds counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from autobatch.check.judge.location import Location, locate, widen_for_correlation
from autobatch.check.measurement import CheckRound

_ROUNDS_OF_A_BLOCK = 3
_BLOCKS_AROUND = 3
# Blocks do not repeat themselves better than this, however few they are.
_SMALLEST_SCATTER = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupling:
    """What a reference says of a target.

    Attributes:
        slope: By how much the log of the target's time moves as that of the reference moves
            by one; 0 without a reference.
        slope_error: Its standard error.
        slope_drift: By how much it may differ, as a standard deviation, between what moves a
            machine within a session and what moves it from one session to the next.
        drift: What two sessions of the same may differ by on their own once what the reference
            says is taken off, as a standard deviation of the log.
    """

    slope: float
    slope_error: float = 0.0
    slope_drift: float = 0.0
    drift: float

    def learn_from(self, *sessions: tuple[CheckRound, ...]) -> Coupling:
        """The same with the slope that some sessions show, as far as they are sure of it."""
        if self.slope_error == 0:
            return self
        blocks = [each for rounds in sessions for each in _blocks_of(rounds)]
        if not blocks:
            return self
        target, reference, around = (np.concatenate(each) for each in zip(*blocks, strict=True))
        covariance = float(around @ reference)
        if covariance <= 0:
            return self  # nothing that the reference did has lasted
        shown = float(around @ target) / covariance
        rests = [each[0] - shown * each[1] for each in blocks]
        freedom = len(target) - len(blocks) - 1
        variance = sum(float(rest @ rest) for rest in rests) / freedom
        variance = max(variance, _SMALLEST_SCATTER**2) * widen_for_correlation(*rests)
        known_weight = self.slope_error**-2
        weight = covariance**2 / (variance * float(around @ around))
        return replace(
            self,
            slope=(known_weight * self.slope + weight * shown) / (known_weight + weight),
            slope_error=(known_weight + weight) ** -0.5,
        )

    def locate(self, rounds: tuple[CheckRound, ...]) -> Location:
        """Where the log of the target's time lies once what the reference says is taken off."""
        logs = _log_times(rounds)
        return locate(logs - self.slope * _log_references(rounds) if self.slope else logs)

    def compare(self, now: tuple[CheckRound, ...], before: tuple[CheckRound, ...]) -> Location:
        """Log of how much longer a step of the target takes now than before."""
        drift = self.drift
        if self.slope:
            moved = locate(_log_references(now)).center - locate(_log_references(before)).center
            drift = math.hypot(drift, moved * self.slope_error, moved * self.slope_drift)
        return self.locate(now).minus(self.locate(before), drift=drift)


def _blocks_of(rounds: tuple[CheckRound, ...]) -> Iterator[tuple[np.ndarray, ...]]:
    """Target, reference, and reference in the blocks around, as deviations from their means.

    Nothing where there are too few blocks to have any around.
    """
    count = len(rounds) // _ROUNDS_OF_A_BLOCK
    if count <= _BLOCKS_AROUND:
        return
    logs = np.array([_log_times(rounds), _log_references(rounds)])
    parts = logs[:, : count * _ROUNDS_OF_A_BLOCK].reshape(2, count, _ROUNDS_OF_A_BLOCK)
    target, reference = np.median(parts, axis=2)
    reach = range(-_BLOCKS_AROUND, _BLOCKS_AROUND + 1)
    around = np.array(
        [
            np.mean([reference[i + d] for d in reach if d != 0 and 0 <= i + d < count])
            for i in range(count)
        ]
    )
    yield tuple(each - each.mean() for each in (target, reference, around))


def _log_times(rounds: tuple[CheckRound, ...]) -> np.ndarray:
    """By round. A round counts once, however many steps it has."""
    return np.array([math.log(median(each.step_times_s)) for each in rounds])


def _log_references(rounds: tuple[CheckRound, ...]) -> np.ndarray:
    return np.array([math.log(median(each.reference_times_s)) for each in rounds])

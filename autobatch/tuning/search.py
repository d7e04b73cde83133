"""Which settings to try next, and what to put together: pure, but for the trying.

start -> each value of each lever -> what gains, together, fastest first -> the others -> pairs

What gains alone but not beside the fastest is put together without it where that may be faster:
channels-last may gain nothing under `torch.compile`, and more than it together with the allocator.
The others are those that alone made no difference: what they save may be a larger part of a step
that others have made faster, and the noise may have hidden it. They are tried all at once on top of
what gains, and one at a time only where that is faster.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from autobatch.tuning.ratios import LEAST_GAIN_FRACTION, interval_of

if TYPE_CHECKING:
    from autobatch.tuning.records import Attempt, Changes

# What was slower alone by less than this may gain at another batch size: glibc gives large tensors
# back to the kernel, and keeps small ones anyway.
_LEAST_ELSEWHERE_FRACTION = 0.1
_ELSEWHERE_RATIO = 4
#: Levers that may gain together where one of them alone does not: checkpointing makes room, and the
#: other one makes computing again cheap.
PAIRS = (("checkpointing", "compile"), ("checkpointing", "precision"))


class Try(Protocol):
    """Tries settings."""

    def __call__(self, changes: Changes, against: Attempt | None) -> Attempt:
        """Try them, in turn with others."""


class Search:
    """Tries levers one at a time, then together.

    Args:
        offers: Values of each lever.
        attempt: Tries settings, each only once, in turn with others or with the start; ends the
            search by raising.
        noise_fraction: Standard deviation of the log of a throughput on this machine.

    Attributes:
        ladder: What led to the fastest so far, the start first.
    """

    def __init__(
        self, offers: Mapping[str, Sequence[str]], attempt: Try, noise_fraction: float
    ) -> None:
        self._offers, self._attempt, self._noise_fraction = offers, attempt, noise_fraction
        self.ladder: list[Attempt] = []

    @property
    def best(self) -> Attempt:
        """The fastest so far that is made of what gains."""
        return self.ladder[-1]

    def run(self) -> None:
        """Search; the ladder has the best so far at any time."""
        self.ladder = [self._attempt({}, None)]
        alone: dict[str, Attempt] = {}
        for name, values in self._offers.items():
            tried = [self._attempt({name: value}, self.ladder[0]) for value in values]
            alone[name] = max(tried, key=lambda each: each.ratio)
            if _gains(self.best, alone[name]):
                self.ladder = [self.ladder[0], alone[name]]  # in case that time runs out
        self.ladder = self.ladder[:1]
        fastest_first = sorted(alone.values(), key=lambda each: -each.ratio)
        gaining = [each for each in fastest_first if _gains(self.ladder[0], each)]
        for each in gaining:
            self._add(each.changes)
        taken = self.best.changes.items()
        self._replace_by([each for each in gaining if not each.changes.items() <= taken])
        if gaining:
            self._add_others([each for each in fastest_first if each not in gaining])
        for pair in PAIRS:
            if all(name in alone and alone[name].ratio for name in pair):
                together = {name: alone[name].changes[name] for name in pair}
                if not together.keys() <= self.best.changes.keys():
                    self._add({**together, **self.best.changes})

    def _replace_by(self, left_out: Sequence[Attempt]) -> None:
        """Put together what did not go with the fastest, where it may be faster without it."""
        if math.prod(each.ratio for each in left_out) < (1 + LEAST_GAIN_FRACTION) * self.best.ratio:
            return
        before, self.ladder = self.ladder, self.ladder[:1]
        try:
            for each in left_out:
                self._add(each.changes)
        finally:  # also where time runs out
            if not _gains(before[-1], self.best):
                self.ladder = before

    def _add_others(self, others: Sequence[Attempt]) -> None:
        now, first = self.best.batch_size or 1, self.ladder[0].batch_size or 1
        is_elsewhere = max(now, first) >= _ELSEWHERE_RATIO * min(now, first)
        least = 1 - (_LEAST_ELSEWHERE_FRACTION if is_elsewhere else LEAST_GAIN_FRACTION)
        others = [each for each in others if each.ratio >= least or self._may_gain(each)]
        if len(others) > 1:
            together = {name: value for each in others for name, value in each.changes.items()}
            tried = self._attempt({**self.best.changes, **together}, self.best)
            if tried.ratio and not _gains(self.best, tried):
                return
        for each in others:
            self._add(each.changes)

    def _may_gain(self, attempt: Attempt) -> bool:
        if not attempt.ratio:
            return False
        return interval_of(attempt.ratios, self._noise_fraction)[1] >= 1 + LEAST_GAIN_FRACTION

    def _add(self, changes: Changes) -> None:
        tried = self._attempt({**self.best.changes, **changes}, self.best)
        if _gains(self.best, tried):
            self.ladder.append(tried)


def _gains(before: Attempt, after: Attempt) -> bool:
    return after.ratio >= (1 + LEAST_GAIN_FRACTION) * before.ratio


def find_runner_up(attempts: Sequence[Attempt], best: Attempt) -> Attempt | None:
    """The fastest other settings that are not the start's; ``None`` without any.

    Args:
        attempts: All, the start first.
        best: The fastest.
    """
    others = [each for each in attempts if each.ratio and each.changes and each != best]
    return max(others, key=lambda each: each.ratio, default=None)

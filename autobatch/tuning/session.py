"""A tuning as it runs: the start, the search, the best held against it, the result."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from autobatch.errors import NothingFitsError, ResultFormatError, TuningInterrupted, cause_of
from autobatch.records import Settings
from autobatch.reporting.activity import Activity
from autobatch.tuning.asked import TuneSettings
from autobatch.tuning.measure import Measurer
from autobatch.tuning.probers import Opener
from autobatch.tuning.ratios import LEAST_GAIN_FRACTION, is_clear
from autobatch.tuning.records import Attempt, AttemptOutcome, Changes, Held, Start, Tuning
from autobatch.tuning.report.wording import describe_attempt, describe_changes
from autobatch.tuning.search import Search, find_runner_up

# Rounds in fresh processes, each of them a final run.
_FEWEST_ROUNDS, _MOST_ROUNDS = 3, 5
# Loading a workload and a size or two.
_LEAST_TIME_S = 5.0


class _TimeUpError(Exception):
    pass


def tune(
    opener: Opener,
    settings: Settings,
    asked: TuneSettings,
    activity: Activity,
    *,
    previous: Tuning | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Tuning:
    """Find the settings that train a workload fastest inside the budget.

    Args:
        opener: Opens probers of it with levers on.
        settings: Device, memory, precision, global batch.
        asked: What may be tuned, and for how long.
        activity: Is shown what goes on.
        previous: A tuning that was interrupted, whose attempts are taken over.
        clock: Returns seconds from any origin.

    Raises:
        TuningInterrupted: On Ctrl-C once the start is measured; carries the best so far.
        ResultFormatError: If ``previous`` tuned something else.
        AutobatchError: If the start cannot be measured.
    """
    session = _Session(opener, settings, asked, activity, clock)
    if previous is not None:
        session.take_over(previous)
    with session.measurer.references:
        try:
            session.run()
        except KeyboardInterrupt:
            if not session.attempts:
                raise
            raise TuningInterrupted(session.conclude()) from None
        return session.conclude()


class _Session:
    def __init__(
        self,
        opener: Opener,
        settings: Settings,
        asked: TuneSettings,
        activity: Activity,
        clock: Callable[[], float],
    ) -> None:
        self._opener, self._settings, self._asked = opener, settings, asked
        self._activity, self._clock = activity, clock
        self.measurer = Measurer(opener, settings, asked, activity, clock)
        self._begin = clock()
        self._start: Start | None = None
        self._known: tuple[Attempt, ...] = ()
        self._search: Search | None = None
        self._held: tuple[Held, ...] = ()
        self._is_complete = False
        self.attempts: list[Attempt] = []

    def take_over(self, previous: Tuning) -> None:
        then = previous.target, previous.settings, replace(previous.asked, time_limit_s=None)
        now = self._opener.name, self._settings, replace(self._asked, time_limit_s=None)
        if then != now:
            raise ResultFormatError(
                f"the tuning to go on with is of {previous.target}, with other settings or levers "
                "than are asked for now",
                hint="give the same target and options as then, or leave `resume` out",
            )
        self._start = previous.start
        self._known = previous.attempts

    def run(self) -> None:
        self._activity.begin(f"loading {self._opener.name}")
        first = _find(self._known, {})
        if self._start is None or first is None:
            self._activity.begin(describe_changes({}))
            self._start, first = self.measurer.start(self._left_s())
        self._keep(first)
        noise = self._start.limits.noise_fraction
        self._search = Search(self._start.offers, self._attempt, noise)
        try:
            self._search.run()
            self._resize_best()
            self._hold(self._search.best)
            self._is_complete = True
        except _TimeUpError:
            self._activity.write("the time limit is reached")

    def conclude(self) -> Tuning:
        assert self._start is not None
        ladder = self._search.ladder if self._search and self._search.ladder else self.attempts[:1]
        made = Tuning(
            target=self._opener.name,
            settings=self._settings,
            asked=self._asked,
            start=self._start,
            attempts=tuple(self.attempts),
            ladder=tuple(self.attempts.index(each) for each in ladder),
            held=self._held,
            chosen=self.attempts.index(ladder[-1]),
            is_sure=False,
            is_complete=self._is_complete,
            tuning_time_s=self._clock() - self._begin,
        )
        for each in made.held[2:]:  # the next, where it turns out faster than the fastest
            other = replace(made, chosen=self._number_of(each))
            if other.speedup > (1 + LEAST_GAIN_FRACTION) * made.speedup:
                made = other
        if made.held and made.speedup < 1:
            made = replace(made, chosen=0)
        return replace(made, is_sure=made.interval[0] > 1)

    def _number_of(self, held: Held) -> int:
        return next(n for n, each in enumerate(self.attempts) if each.changes == held.changes)

    def _attempt(self, changes: Changes, against: Attempt | None = None) -> Attempt:
        """Try settings, unless they have been tried."""
        if known := _find(self.attempts, changes):
            return known
        if taken_over := _find(self._known, changes):
            return self._keep(taken_over)
        left_s = self._left_s()
        if left_s is not None and left_s < _LEAST_TIME_S:
            raise _TimeUpError
        self._activity.begin(describe_changes(changes))
        assert self._start is not None
        begin = self._clock()
        try:
            tried = self.measurer.attempt(self._start, against or self.attempts[0], changes, left_s)
        except Exception as error:  # a lever that raises, hangs or dies costs that lever
            left_s = self._left_s()
            if left_s is not None and left_s < _LEAST_TIME_S:
                raise _TimeUpError from error  # it may have failed for want of time
            tried = Attempt(
                changes=changes,
                outcome=AttemptOutcome.FAILED,
                message=cause_of(error)[:300],
                time_s=self._clock() - begin,
            )
        return self._keep(tried)

    def _keep(self, attempt: Attempt) -> Attempt:
        self.attempts.append(attempt)
        self._activity.write(describe_attempt(attempt))
        return attempt

    def _resize_best(self) -> None:
        """Search for the size of the fastest settings as for that of the start."""
        assert self._start is not None
        assert self._search is not None
        best, left_s = self._search.best, self._left_s()
        if not best.changes or (left_s is not None and left_s < _LEAST_TIME_S):
            return
        self._activity.begin(f"the batch size of {describe_changes(best.changes)}")
        try:
            resized = self.measurer.resize(self._start, best, left_s)
        except Exception as error:  # the size of the climb stands
            self._activity.write(f"not searched: {cause_of(error)}")
            return
        self.attempts[self.attempts.index(best)] = self._search.ladder[-1] = resized
        self._activity.write(describe_attempt(resized))

    def _hold(self, best: Attempt) -> None:
        """Run the best and the next against the user's own settings in turn, in fresh processes."""
        assert self._start is not None
        next_best = find_runner_up(self.attempts, best)
        sides = [({}, self._start.own_batch_size), *(
            (each.changes, each.batch_size or 1) for each in (best, next_best) if each is not None
        )]  # fmt: skip
        sides = [each for number, each in enumerate(sides) if each not in sides[:number]]
        if len(sides) < 2:
            return
        rates: list[list[float]] = [[] for _ in sides]
        self._activity.begin("holding the fastest against your settings, in fresh processes")
        while len(rates[0]) < _MOST_ROUNDS:
            left_s, spent = self._left_s(), len(rates[0])
            if left_s is not None and left_s < _LEAST_TIME_S:
                break
            noise = self._start.limits.noise_fraction
            if spent >= _FEWEST_ROUNDS and is_clear(_ratios(rates[1], rates[0]), noise):
                break
            order = range(len(sides))
            try:
                turn = {
                    at: self._time_afresh(*sides[at]) for at in order[:: -1 if spent % 2 else 1]
                }
            except Exception as error:  # what was held so far stands
                self._activity.write(f"not held any longer: {cause_of(error)}")
                break
            for index in order:
                rates[index].append(turn[index])
            self._held = tuple(
                Held(changes=changes, batch_size=size, rates_samples_per_s=tuple(each))
                for (changes, size), each in zip(sides, rates, strict=True)
            )

    def _time_afresh(self, changes: Changes, size: int) -> float:
        assert self._start is not None
        with self._opener.open(changes, self._start.remedy) as trainer:
            trainer.load(timeout_s=self._asked.lever_time_limit_s)
            trial, rate = self.measurer.time_round(trainer, self._start, changes, size)
        if not rate:
            raise NothingFitsError(f"batch size {size} does not fit: {trial.message}")
        return rate

    def _left_s(self) -> float | None:
        limit_s = self._asked.time_limit_s
        return None if limit_s is None else limit_s - (self._clock() - self._begin)


def _find(attempts: Sequence[Attempt], changes: Changes) -> Attempt | None:
    return next((each for each in attempts if each.changes == changes), None)


def _ratios(rates: list[float], own: list[float]) -> list[float]:
    return [a / b for a, b in zip(rates, own, strict=True)]

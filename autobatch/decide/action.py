"""What to do next: the whole policy of a search, as one function of what is known.

    climb -> [worth of a sample] -> race -> final run -> finish
      ^______________________________|_________|   newer figures may send it back

Nothing here runs anything: the finder carries out an ``Action`` and asks again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from autobatch.decide.bracket import find_bracket
from autobatch.decide.choice import Choice, choose, find_exact_size
from autobatch.decide.decision import Decision
from autobatch.decide.race import final_time_s, race_time_s
from autobatch.decide.step import Rules, next_step
from autobatch.records import Goal, Phase, Settings, StopReason, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Run sizes, one after the other.

    Attributes:
        batch_sizes: Sizes, ascending; several in a race.
        phase: What for.
    """

    batch_sizes: tuple[int, ...]
    phase: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureWorth:
    """Measure what a sample is worth at each batch size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """Stop: there is an answer, or there is none.

    Attributes:
        reason: Why no larger size ran.
    """

    reason: StopReason


Action: TypeAlias = Run | MeasureWorth | Finish


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What has been done so far.

    Attributes:
        settings: What the user asked for.
        rules: Candidates and limits of the climb.
        trials: All trials, by batch size.
        decision: From those that fitted; ``None`` if none did.
        raced_s: Seconds spent on racing.
        confirmed: Sizes that had a final run and fitted.
        lacks_worth: Whether the value of a sample is needed and not measured yet.
    """

    settings: Settings
    rules: Rules
    trials: Mapping[int, Trial]
    decision: Decision | None = None
    raced_s: float = 0.0
    confirmed: Collection[int] = ()
    lacks_worth: bool = False

    @property
    def fitting(self) -> tuple[int, ...]:
        """Sizes that ran and fitted, below any that did not."""
        fitted = find_bracket(self.trials).fitted
        return tuple(size for size, trial in self.trials.items() if trial.fits and size <= fitted)

    @property
    def choice(self) -> Choice | None:
        """The size to train with, as far as is known; ``None`` if none fitted."""
        if self.decision is None:
            return None
        return choose(self.settings, self.decision, self.fitting)


@dataclass(frozen=True, slots=True, kw_only=True)
class Time:
    """Time spent and time left.

    Attributes:
        spent_s: Seconds since the first trial.
        left_s: Seconds until the time limit, ``None`` without one.
        final_start_s: Seconds that the final run takes before its first step, where each run starts
            from nothing. They are kept for it.
    """

    spent_s: float
    left_s: float | None = None
    final_start_s: float = 0.0

    @property
    def is_up(self) -> bool:
        """Whether the limit is reached."""
        return self.left_s is not None and self.left_s <= 0

    @property
    def is_short(self) -> bool:
        """Whether what is left is what the final run takes to start."""
        return self.left_s is not None and self.left_s <= self.final_start_s


def next_action(progress: Progress, time: Time) -> Action:
    """Decide what to do next.

    Args:
        progress: What was asked for and what has been done.
        time: Time spent and left.

    Returns:
        Sizes to run, a measurement to make, or the end with its reason.
    """
    if time.is_up:
        return Finish(reason=StopReason.TIME_LIMIT)
    decision = progress.decision
    if time.is_short and progress.choice is not None:
        if progress.choice.batch_size in progress.confirmed:
            return Finish(reason=StopReason.TIME_LIMIT)
        return Run(batch_sizes=(progress.choice.batch_size,), phase=Phase.CONFIRMATION)
    step = next_step(progress.rules, progress.trials, decision, time.spent_s)
    if step.batch_size is not None:
        return Run(batch_sizes=(step.batch_size,), phase=Phase.SEARCH)
    assert step.stop_reason is not None
    finish = Finish(reason=step.stop_reason)
    choice = progress.choice
    if decision is None or choice is None:
        return finish
    if progress.lacks_worth:
        return MeasureWorth()
    is_confirmed = choice.batch_size in progress.confirmed
    if is_confirmed and decision.is_sure_of(choice.batch_size):
        return finish
    racing = _find_round(progress, decision, time)
    if racing:
        return Run(batch_sizes=racing, phase=Phase.TIMING)
    exact = find_exact_size(progress.settings, choice.batch_size)
    if exact is not None and exact not in progress.trials:
        return Run(batch_sizes=(exact,), phase=Phase.SEARCH)
    if is_confirmed:
        return finish
    return Run(batch_sizes=(choice.batch_size,), phase=Phase.CONFIRMATION)


def _find_round(progress: Progress, decision: Decision, time: Time) -> tuple[int, ...]:
    """Sizes to time in turn now; empty if none is in doubt or time is too short."""
    numbers = decision.asked.numbers
    if progress.settings.goal is Goal.MEMORY or not decision.to_race:
        return ()
    trials = progress.trials
    racing = decision.to_race
    while len(racing) > 1:
        cost_s = sum(race_time_s(trials[size], numbers) for size in racing)
        final_s = final_time_s(trials[max(racing)], numbers) + time.final_start_s
        has_time = time.left_s is None or time.left_s >= cost_s + final_s
        if has_time and progress.raced_s + cost_s <= numbers.race_time_s:
            return racing
        racing = _without_dearest(racing, decision)
    return ()


def _without_dearest(racing: tuple[int, ...], decision: Decision) -> tuple[int, ...]:
    """The race without its largest size, as long as the knee and the best are left."""
    least = {decision.knee, decision.rates.best()}
    others = [size for size in racing if size not in least]
    return tuple(size for size in racing if size != others[-1]) if others else ()

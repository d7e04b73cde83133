"""What to do next: the whole policy of a search, as one function of what is known.

    climb -> [worth of a sample] -> race -> final run -> finish
      ^______________________________|_________|   newer figures may send it back

Nothing here runs anything: the finder carries out an ``Action`` and asks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from autobatch.decide.bracket import find_bracket
from autobatch.decide.choice import Choice, choose, find_exact_size
from autobatch.decide.decision import Decision
from autobatch.decide.race import final_time_s, is_worth_a_round, race_time_s
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
        final_of: The size whose final run was the last that fitted; ``None`` if another was.
        num_finals: Final runs so far.
        lacks_worth: Whether the value of a sample is needed and not measured yet.
    """

    settings: Settings
    rules: Rules
    trials: Mapping[int, Trial]
    decision: Decision | None = None
    raced_s: float = 0.0
    final_of: int | None = None
    num_finals: int = 0
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
    """

    spent_s: float
    left_s: float | None = None

    @property
    def is_up(self) -> bool:
        """Whether the limit is reached."""
        return self.left_s is not None and self.left_s <= 0


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
    racing = _find_round(progress, decision, time)
    if racing:
        return Run(batch_sizes=racing, phase=Phase.TIMING)
    exact = find_exact_size(progress.settings, choice.batch_size)
    if exact is not None and exact not in progress.trials:
        return Run(batch_sizes=(exact,), phase=Phase.SEARCH)
    if progress.final_of == choice.batch_size:
        return finish
    # A final run may change the answer; after three, the answers hardly differ.
    if progress.num_finals >= 3 and progress.final_of is not None:
        return finish
    return Run(batch_sizes=(choice.batch_size,), phase=Phase.CONFIRMATION)


def _find_round(progress: Progress, decision: Decision, time: Time) -> tuple[int, ...]:
    """Sizes to time in turn now; empty if none is in doubt or time is too short."""
    numbers = decision.asked.numbers
    if progress.settings.goal is Goal.MEMORY or not decision.to_race:
        return ()
    trials = progress.trials
    racing = decision.to_race
    cost_s = sum(race_time_s(trials[size], numbers) for size in racing)
    raced_s = progress.raced_s
    final_s = final_time_s(trials[max(racing)], numbers)
    if time.left_s is not None and time.left_s < cost_s + final_s:
        return ()  # keep the time for the final run
    is_worth_it = is_worth_a_round(
        cost_s,
        search_s=time.spent_s - raced_s,
        raced_s=raced_s,
        numbers=numbers,
    )
    return racing if is_worth_it else ()

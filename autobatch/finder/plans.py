"""How long each kind of trial times steps, and what that will cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.records import Goal, Trial

# The spread between processes is larger than that within one: more steps of the same tell little.
_SEARCH_PLAN = TimingPlan(max_time_s=0.12, patience_s=0.5)
_MEMORY_PLAN = TimingPlan(min_steps=1, max_time_s=0.05)
# What is this much slower than the best needs no exact figure.
_SLOW_RATIO = 0.75
# Short, and often: what disturbs a machine, or one process on it, lasts longer than this, so that
# more steps of the same moment tell less than a few of the next.
CONTEST_PLAN = TimingPlan(purpose=Purpose.RACE, min_steps=1, max_time_s=0.1, precision_fraction=0)
#: Tens of steps, or some where they are slow, in windows whose peaks show whether memory grows.
CONFIRMATION_PLAN = TimingPlan(
    purpose=Purpose.FINAL,
    min_steps=10,
    max_time_s=0.15,
    precision_fraction=0,
    patience_s=0.5,
    num_windows=3,
)
#: Once more, for a peak that comes close to the budget: what differs from run to run is what the
#: allocator makes of the first steps.
CONFIRM_AGAIN_PLAN = TimingPlan(
    purpose=Purpose.FINAL,
    min_steps=1,
    max_time_s=0.1,
    precision_fraction=0,
    patience_s=1.0,
    num_windows=2,
)
# A process for the trial, its first batch, an evaluation.
_START_TIME_S = 1.0


def plan_search(goal: Goal, trials: Mapping[int, Trial], batch_size: int) -> TimingPlan:
    """How to time a size that has not run yet.

    Args:
        goal: For the size that uses most memory, exact times matter less.
        trials: What ran so far, by batch size.
        batch_size: The size to run.
    """
    plan = _MEMORY_PLAN if goal is Goal.MEMORY else _SEARCH_PLAN
    best = max((trial.samples_per_s or 0.0 for trial in trials.values()), default=0.0)
    return replace(plan, slow_step_s=batch_size / (_SLOW_RATIO * best)) if best else plan


def contest_time_s(trial: Trial) -> float:
    """What it will take to time a size once more, if it goes as its trial did."""
    plan, step_time_s = CONTEST_PLAN, trial.step_time_s or 0.0
    timed_s = max(plan.max_time_s, plan.min_steps * step_time_s)
    return plan.num_warmup_steps * step_time_s + timed_s


def confirmation_time_s(trial: Trial) -> float:
    """What the final run of a size will take at most, if it goes as its trial did."""
    step_time_s, plan = trial.step_time_s or 0.0, CONFIRMATION_PLAN
    window_s = max(plan.max_time_s, min(plan.min_steps * step_time_s, plan.patience_s))
    return _START_TIME_S + plan.num_warmup_steps * step_time_s + plan.num_windows * window_s

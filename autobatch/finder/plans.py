"""How long each kind of trial times steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from autobatch.decide.numbers import NUMBERS
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.records import Goal, Trial

# Processes differ more than the steps within one: more steps of one process add little.
_SEARCH_PLAN = TimingPlan(max_time_s=NUMBERS.search_window_s, patience_s=NUMBERS.patience_s)
_MEMORY_PLAN = TimingPlan(min_steps=1, max_time_s=NUMBERS.memory_window_s)
# Short, and often: a disturbance of the machine, or of one process, lasts longer than this, so more
# steps now add less than a few steps later.
RACE_PLAN = TimingPlan(
    purpose=Purpose.RACE, min_steps=1, max_time_s=NUMBERS.race_window_s, precision_fraction=0
)
#: Tens of steps, or some where they are slow, in windows whose peaks show whether memory grows.
FINAL_PLAN = TimingPlan(
    purpose=Purpose.FINAL,
    min_steps=NUMBERS.final_steps,
    max_time_s=NUMBERS.final_window_s,
    precision_fraction=0,
    patience_s=NUMBERS.patience_s,
    num_windows=NUMBERS.final_windows,
)
#: Once more, for a peak that comes close to the budget: runs differ in how the allocator lays
#: out the first steps.
FINAL_AGAIN_PLAN = TimingPlan(
    purpose=Purpose.FINAL,
    min_steps=1,
    max_time_s=NUMBERS.race_window_s,
    precision_fraction=0,
    patience_s=1.0,
    num_windows=2,
)


def plan_search(goal: Goal, trials: Mapping[int, Trial], batch_size: int) -> TimingPlan:
    """Plan the first run of a size.

    Args:
        goal: For the largest size that fits, exact times matter less.
        trials: What ran so far, by batch size.
        batch_size: The size to run.
    """
    plan = _MEMORY_PLAN if goal is Goal.MEMORY else _SEARCH_PLAN
    best = max((trial.samples_per_s or 0.0 for trial in trials.values()), default=0.0)
    if not best:
        return plan
    # A size this much slower than the best needs no exact figure.
    return replace(plan, slow_step_s=batch_size / (NUMBERS.slow_ratio * best))

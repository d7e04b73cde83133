"""How long each kind of trial times steps."""

from __future__ import annotations

from autobatch.decide.numbers import NUMBERS
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.records import Goal

# Processes differ more than the steps within one: more steps of one process add little.
_SEARCH_PLAN = TimingPlan(max_time_s=NUMBERS.search_window_s, patience_s=NUMBERS.patience_s)
_MEMORY_PLAN = TimingPlan(min_steps=1, max_time_s=NUMBERS.race_window_s)
# Short, and often: what disturbs a machine, or one process on it, lasts longer than this, so that
# more steps of the same moment tell less than a few of the next.
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


def plan_search(goal: Goal) -> TimingPlan:
    """How to time a size that has not run yet: for its memory alone, one step is enough."""
    return _MEMORY_PLAN if goal is Goal.MEMORY else _SEARCH_PLAN

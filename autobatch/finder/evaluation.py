"""The largest size for evaluation, found after the one for training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from autobatch.finder.evidence import Evidence
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Goal, StopReason, Trial
from autobatch.search.step import next_step

_PLAN = TimingPlan(num_warmup_steps=1, min_steps=1, max_time_s=0.1, evaluate=True)


def search_evaluation(
    evidence: Evidence,
    measure: Callable[[int, TimingPlan], Trial],
    is_time_up: Callable[[], bool],
) -> None:
    """Look for the largest size at which evaluation fits beside the optimizer's state.

    It begins at the size for training, which evaluation nearly always fits with, and goes for
    the memory limit from there.

    Args:
        evidence: With a choice; is given the trials.
        measure: Runs one size.
        is_time_up: Whether to stop with what there is.
    """
    assert evidence.choice is not None
    rules = replace(evidence.make_rules(), goal=Goal.MEMORY)
    size: int | None = evidence.choice.batch_size
    trials = evidence.eval_trials
    while size is not None:
        if is_time_up():
            return
        trials[size] = measure(size, _PLAN)
        if len(trials) == 1 and not trials[size].fits:
            # Not even that: climb from the bottom, below it.
            size = rules.grid.sizes[0]
            if size in trials:
                return
            continue
        step = next_step(rules, trials)
        size = step.batch_size
        evidence.eval_is_largest = step.stop_reason in (
            StopReason.MEMORY,
            StopReason.DATASET,
            StopReason.CAP,
        )

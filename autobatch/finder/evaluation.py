"""The largest size for evaluation, found after the one for training."""

from __future__ import annotations

from dataclasses import replace

from autobatch.decide.step import next_step
from autobatch.finder.beyond import IsOver, Measure
from autobatch.finder.evidence import Evidence
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.records import Goal, StopReason

_PLAN = TimingPlan(purpose=Purpose.EVALUATION, num_warmup_steps=1, min_steps=1, max_time_s=0.1)


def search_evaluation(
    evidence: Evidence,
    measure: Measure,
    is_over: IsOver,
) -> None:
    """Look for the largest size at which evaluation fits beside the optimizer's state.

    It starts at the size for training, at which evaluation almost always fits, and moves to the
    memory limit from there.

    Args:
        evidence: At least one size has fitted; receives the trials.
        measure: Runs one size; returns ``None`` if it raised.
        is_over: Whether to stop with the results so far.
    """
    rules = replace(evidence.make_rules(), goal=Goal.MEMORY)
    size: int | None = evidence.choose().batch_size
    trials = evidence.eval_trials
    while size is not None:
        trial = None if is_over() else measure(size, _PLAN)
        if trial is None:
            return
        trials[size] = trial
        if len(trials) == 1 and not trial.fits:
            # Even that does not fit: climb from the smallest size.
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

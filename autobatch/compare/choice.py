"""Which of several trained batch sizes to choose, and why."""

from __future__ import annotations

from collections.abc import Sequence

from autobatch.compare.records import CompareSettings, RunOutcome, TrainingRun, epochs_to_loss
from autobatch.decide.choice import Choice
from autobatch.units import format_count, format_fraction, format_seconds


def choose_size(runs: Sequence[TrainingRun], asked: CompareSettings) -> Choice | None:
    """The size to train with.

    Every size was trained once, so the reason speaks of one seed, and claims nothing of others.

    With a target loss, the one that reaches it soonest. Else, of the sizes whose loss lies within
    the tolerance of the lowest, the one that trains fastest.

    Args:
        runs: Of all sizes.
        asked: For the target and the tolerance.

    Returns:
        ``None`` if no size was trained to the end.
    """
    finished = [run for run in runs if run.outcome is RunOutcome.FINISHED]
    if not finished:
        return None
    target = asked.target_loss
    reached = {run.batch_size: epochs_to_loss(run.epochs, target) for run in finished}
    times = {
        size: sum(epoch.time_s for epoch in epochs)
        for size, epochs in reached.items()
        if epochs is not None
    }
    if times:
        soonest = min(times, key=times.__getitem__)
        time = format_seconds(times[soonest])
        reason = f"with this seed it reaches the target loss of {target:g} soonest, in {time}"
        return Choice(batch_size=soonest, reason=reason)
    missed = "" if target is None else "no size reaches the target; "
    lowest = min(run.epochs[-1].loss for run in finished)
    words = f"within {format_fraction(asked.tolerance_fraction)} of the lowest loss"
    highest = lowest + asked.tolerance_fraction * abs(lowest)
    equal = [run for run in finished if run.epochs[-1].loss <= highest]
    if len(equal) == 1:
        reason = f"{missed}the lowest loss with this seed, {lowest:.4g}"
    else:
        sizes = ", ".join(format_count(run.batch_size) for run in equal)
        reason = f"{missed}the fastest of those {words} with this seed ({sizes})"
    return Choice(batch_size=min(equal, key=lambda run: run.time_s).batch_size, reason=reason)

"""Which of several trained batch sizes to choose, and why."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from autobatch.compare.records import (
    CompareSettings,
    RunOutcome,
    SizeSummary,
    TrainingRun,
    epochs_to_loss,
    final_loss,
)
from autobatch.decide.choice import Choice
from autobatch.units import format_count, format_fraction, format_seconds

_FROM_BEST_TO_WORST = (
    RunOutcome.FINISHED,
    RunOutcome.UNFINISHED,
    RunOutcome.DIVERGED,
    RunOutcome.OUT_OF_MEMORY,
    RunOutcome.KILLED,
    RunOutcome.FAILED,
)


def summarize(runs: Sequence[TrainingRun], target_loss: float | None) -> SizeSummary:
    """Join the folds of one size.

    Args:
        runs: At least one, all of the same size.
        target_loss: Loss whose reaching is timed.
    """
    losses = [final_loss(run) for run in runs]
    known = [loss for loss in losses if loss is not None]
    is_known = len(known) == len(runs)
    several = is_known and len(known) > 1
    reached = [epochs_to_loss(run.epochs, target_loss) for run in runs]
    return SizeSummary(
        batch_size=runs[0].batch_size,
        outcome=max((run.outcome for run in runs), key=_FROM_BEST_TO_WORST.index),
        loss=statistics.fmean(known) if is_known else None,
        standard_error=statistics.stdev(known) / math.sqrt(len(known)) if several else None,
        time_s=statistics.fmean(run.time_s for run in runs),
        epochs_to_target=_mean_over(runs, reached, lambda run, count: float(count)),
        iterations_to_target=_mean_over(
            runs,
            reached,
            lambda run, count: float(sum(each.num_iterations for each in run.epochs[:count])),
        ),
        seconds_to_target=_mean_over(
            runs, reached, lambda run, count: sum(each.time_s for each in run.epochs[:count])
        ),
    )


def choose_size(summaries: Sequence[SizeSummary], asked: CompareSettings) -> Choice | None:
    """The size to train with.

    With a target loss, the one that reaches it soonest. With folds, by the one-standard-error
    rule (Breiman et al. 1984): of the sizes whose loss lies within one standard error of the
    best, the one that trains fastest. Else of those within the tolerance of the best.

    Args:
        summaries: All sizes.
        asked: For the target, the folds and the tolerance.

    Returns:
        ``None`` if no size was trained to the end.
    """
    finished = [each for each in summaries if each.outcome is RunOutcome.FINISHED]
    finished = [each for each in finished if each.loss is not None]
    if not finished:
        return None
    if asked.target_loss is not None:
        reached = [each for each in finished if each.seconds_to_target is not None]
        if reached:
            soonest = min(reached, key=lambda each: each.seconds_to_target or 0.0)
            time = format_seconds(soonest.seconds_to_target or 0.0)
            return Choice(
                batch_size=soonest.batch_size,
                reason=f"it reaches the target loss of {asked.target_loss:g} soonest, in {time}",
            )
    best = min(finished, key=lambda each: each.loss or 0.0)
    missed = "" if asked.target_loss is None else "no size reaches the target; "
    return _choose_fastest(finished, best, missed, asked.tolerance_fraction)


def _choose_fastest(
    finished: Sequence[SizeSummary], best: SizeSummary, missed: str, tolerance_fraction: float
) -> Choice:
    best_loss = best.loss or 0.0
    margin = tolerance_fraction * abs(best_loss)
    words = f"within {format_fraction(tolerance_fraction)} of the lowest loss"
    if best.standard_error is not None:
        margin = best.standard_error
        words = "within one standard error of the lowest loss"
    equal = [each for each in finished if (each.loss or 0.0) <= best_loss + margin]
    fastest = min(equal, key=lambda each: each.time_s)
    if len(equal) == 1:
        reason = f"{missed}the lowest loss, {best_loss:.4g}; no other is {words}"
    else:
        sizes = ", ".join(format_count(each.batch_size) for each in equal)
        reason = f"{missed}the fastest of those {words} ({sizes})"
    return Choice(batch_size=fastest.batch_size, reason=reason)


def _mean_over(
    runs: Sequence[TrainingRun],
    reached: Sequence[int | None],
    measure: Callable[[TrainingRun, int], float],
) -> float | None:
    pairs = [(run, count) for run, count in zip(runs, reached, strict=True) if count is not None]
    if len(pairs) < len(runs):
        return None
    return statistics.fmean(measure(run, count) for run, count in pairs)

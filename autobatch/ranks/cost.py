"""What it costs that several ranks train together: who is waited for, and how far that scales.

Who is slow is in the readings of the trials: at the gate before a collective the slow rank is the
one that waits least. How far it scales takes one more look, in the launcher's form: the same size
on one rank by itself, and then on all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from statistics import median, quantiles

from autobatch.errors import AutobatchError, first_line_of
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.ranks.prober import GroupProber
from autobatch.recommend.accumulation import count_passes
from autobatch.records import Finding, GroupCost, RankSize, ThroughputCurve, Trial

# Sizes next to the answer whose readings count: a small batch says nothing of the time of a large
# one, and with fewer than four they may well agree by chance.
_NEXT_TO_IT, _FEWEST_READINGS = 5, 4
_STRAGGLER_FACTOR = 1.2
# Loading takes most of it.
_LEAST_TIME_S = 15.0
_LARGEST = 2**24
_PLAN = TimingPlan(purpose=Purpose.RACE, max_time_s=1.0, precision_fraction=0.01)


def describe_group(finding: Finding) -> Finding:
    """Say of a finding what its trials tell of the ranks.

    Args:
        finding: Of one process, or of several.

    Returns:
        The finding; as it was, of one process.
    """
    num_ranks = finding.workload.num_ranks
    if num_ranks == 1:
        return finding
    straggler = find_straggler(finding.trials, finding.batch_size, num_ranks)
    if straggler is None:
        return replace(finding, group=GroupCost())
    rank, factor = straggler
    return replace(finding, group=GroupCost(straggler=rank, straggler_factor=factor))


def find_straggler(
    trials: Sequence[Trial], batch_size: int, num_ranks: int
) -> tuple[int, float] | None:
    """The rank that is slower than the others in three of four readings, and how many times.

    Args:
        trials: Of all sizes.
        batch_size: The answer.
        num_ranks: How many ranks there are.
    """
    readings = _busy_times(trials, batch_size, num_ranks)[:_NEXT_TO_IT]
    if len(readings) < _FEWEST_READINGS:
        return None
    for rank in range(num_ranks):
        factors = [
            busy[rank] / median(other for r, other in enumerate(busy) if r != rank)
            for busy in readings
        ]
        if quantiles(factors, n=4)[0] > _STRAGGLER_FACTOR:
            return rank, median(factors)
    return None


def share_by_speed(
    trials: Sequence[Trial], batch_size: int, num_ranks: int
) -> tuple[RankSize, ...]:
    """A size for each rank in proportion to its speed; together as many samples as before.

    Args:
        trials: Of all sizes.
        batch_size: Of each rank, if all have the same.
        num_ranks: How many there are.

    Returns:
        By rank; empty if no trial tells how fast they are.
    """
    readings = _busy_times(trials, batch_size, num_ranks)[:_FEWEST_READINGS]
    if not readings:
        return ()
    speeds = [median(sum(busy) / busy[rank] for busy in readings) for rank in range(num_ranks)]
    total = batch_size * num_ranks
    exact = [total * speed / sum(speeds) for speed in speeds]
    sizes = [max(1, math.floor(each)) for each in exact]
    # What is left over goes where most was cut off.
    order = sorted(range(num_ranks), key=lambda rank: sizes[rank] - exact[rank])
    for rank in order[: max(0, total - sum(sizes))]:
        sizes[rank] += 1
    return tuple(
        RankSize(rank=rank, batch_size=size, loss_weight=size * num_ranks / sum(sizes))
        for rank, size in enumerate(sizes)
    )


def find_enough(curve: ThroughputCurve, cost_s: float, tolerance_fraction: float) -> int | None:
    """The smallest power of two at which a cost is within the tolerance of a step.

    Args:
        curve: Step times of all ranks.
        cost_s: Of each step, whatever its size.
        tolerance_fraction: Of a step.
    """
    size = 1
    while size <= _LARGEST and cost_s > tolerance_fraction * curve.step_time_s(size):
        size *= 2
    return size if size <= _LARGEST else None


def examine_group(
    prober: GroupProber,
    finding: Finding,
    start_alone: Callable[[], AbstractContextManager[GroupProber]],
    *,
    per_rank: bool,
) -> Finding:
    """Time the recommended size on one rank by itself, on all, and with sizes by speed.

    Args:
        prober: Of all ranks.
        finding: With what its trials tell of them.
        start_alone: Starts one rank by itself.
        per_rank: Whether each rank is to have a size of its own as well.

    Returns:
        The finding, with what was seen or why not.
    """
    settings, cost = finding.settings, finding.group
    assert cost is not None
    left_s = math.inf
    if settings.time_limit_s is not None:
        left_s = settings.time_limit_s - finding.search_time_s
    if left_s < _LEAST_TIME_S:
        return replace(finding, group=replace(cost, reason="the time limit left no time for it"))
    size, timeout_s = finding.batch_size, settings.trial_timeout_s
    plan = replace(_PLAN, num_passes=count_passes(settings, size))
    try:
        with start_alone() as alone:
            alone.load(timeout_s=timeout_s)
            by_itself = _time(alone.measure(size, plan, timeout_s=timeout_s))
        together = _time(prober.measure(size, plan, timeout_s=timeout_s))
        cost = _compare(cost, by_itself, together, finding)
        if per_rank:
            sizes = share_by_speed(finding.trials, size, finding.workload.num_ranks)
            each = [own.batch_size for own in sizes]
            cost = replace(cost, sizes=sizes)
            if each:
                trial = prober.measure_each(each, plan, timeout_s=timeout_s)
                cost = replace(cost, sizes_step_time_s=trial.step_time_s if trial.fits else None)
    except AutobatchError as error:  # the answer stands
        cost = replace(cost, reason=first_line_of(error))
    return replace(finding, group=cost)


def _compare(cost: GroupCost, alone_s: float, together_s: float, finding: Finding) -> GroupCost:
    curve, enough = finding.throughput_curve, None
    # What a straggler costs grows with the size.
    if curve is not None and cost.straggler is None:
        tolerance = finding.settings.tolerance_fraction
        enough = find_enough(curve, together_s - alone_s, tolerance)
    return replace(
        cost,
        alone_step_time_s=alone_s,
        together_step_time_s=together_s,
        scaling_efficiency=alone_s / together_s,
        enough_batch_size=enough,
    )


def _time(trial: Trial) -> float:
    if not trial.fits or trial.step_time_s is None:
        raise AutobatchError(f"batch size {trial.batch_size} did not run: {trial.message}")
    return trial.step_time_s


def _busy_times(trials: Sequence[Trial], batch_size: int, num_ranks: int) -> list[list[float]]:
    """By rank, of each size at which all ranks told; those next to a size first."""
    found = []
    for trial in sorted(trials, key=lambda each: abs(math.log(each.batch_size / batch_size))):
        busy = [each.busy_s for each in trial.ranks if each.busy_s]
        if trial.fits and len(busy) == num_ranks:
            found.append(busy)
    return found

"""Timing steps until their median is known precisely enough."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from autobatch.probe.protocol import TimingPlan
from autobatch.records import TimingRound

_MIN_WARMUP_TIME_S = 0.05
_MAX_STEPS = 400
_FEWEST_FOR_SPREAD = 5


def warm_up(step: Callable[[], float], plan: TimingPlan, clock: Callable[[], float]) -> int:
    """Run steps that are not timed, until both a count and a time are reached.

    Args:
        step: Runs a step to its end on the device.
        plan: Has the fewest steps.
        clock: Returns seconds from any origin.

    Returns:
        How many steps ran.
    """
    begin = clock()
    count = 0
    while count < plan.num_warmup_steps or clock() - begin < _MIN_WARMUP_TIME_S:
        step()
        count += 1
    return count


def time_steps(
    step: Callable[[], float],
    plan: TimingPlan,
    clock: Callable[[], float],
    between: Callable[[], object] = lambda: None,
) -> TimingRound:
    """Time one step after the other; of steps of several passes, the time of a pass.

    Args:
        step: Runs a step to its end on the device; returns the seconds it waited for data.
        plan: When to stop.
        clock: Returns seconds from any origin.
        between: Called after each step, outside the timing.
    """
    step_times: list[float] = []
    data_times: list[float] = []
    begin = clock()
    while not is_enough(step_times, plan, clock() - begin):
        step_begin = clock()
        data_times.append(step() / plan.num_passes)
        step_times.append((clock() - step_begin) / plan.num_passes)
        between()
    return TimingRound(
        number=plan.round_number,
        step_times_s=tuple(step_times),
        data_times_s=tuple(data_times),
    )


def median_error_fraction(step_times_s: list[float]) -> float:
    """Standard error of the median over the median, from the interquartile range.

    For normal noise the median of n has the standard error 1.2533 sigma / sqrt(n), and the
    interquartile range is 1.349 sigma.
    """
    quarters = statistics.quantiles(step_times_s, n=4, method="inclusive")
    if quarters[1] <= 0:  # too short for the clock
        return 0.0
    sigma = (quarters[2] - quarters[0]) / 1.349
    return float(1.2533 * sigma / len(step_times_s) ** 0.5 / quarters[1])


def is_enough(step_times: list[float], plan: TimingPlan, elapsed_s: float) -> bool:
    """Whether steps have been timed for long enough.

    Args:
        step_times: Of each, in seconds.
        plan: When to stop.
        elapsed_s: Time since the first began.
    """
    if len(step_times) < plan.min_steps:
        return bool(step_times) and elapsed_s > plan.patience_s
    if elapsed_s >= plan.max_time_s or len(step_times) >= _MAX_STEPS:
        return True
    if len(step_times) < _FEWEST_FOR_SPREAD:
        return False
    return median_error_fraction(step_times) <= plan.precision_fraction

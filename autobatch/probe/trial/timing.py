"""Timing steps until their median is known precisely enough.

    time_steps    one step after the other, each to its end
    time_chains   on accelerators, where the host runs ahead of the device

A training does not wait for its accelerator after each step: while the device works on one, the
host fetches the next batch and launches the next step, so that a step takes the longer of the two
times. A step that is waited for takes their sum.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from contextlib import nullcontext

from autobatch.devices.base import Device, Mark
from autobatch.probe.pace import ALONE, Pace
from autobatch.probe.protocol import TimingPlan
from autobatch.records import TimingRound

_MIN_WARMUP_TIME_S = 0.05
_MAX_STEPS = 400
_FEWEST_FOR_SPREAD = 5
# The first makes the optimizer's state, and the second runs beside the gradients of the first.
_NUM_CAREFUL_STEPS = 2
# Long against the time to fill the queue and to empty it, short against a window.
_CHAIN_TIME_S = 0.1
# How far the host may run ahead: PyTorch's own queue holds about a thousand kernels.
_MOST_IN_CHAIN = 32


def warm_up(
    step: Callable[[], float],
    plan: TimingPlan,
    clock: Callable[[], float],
    pace: Pace = ALONE,
) -> int:
    """Run steps that are not timed, until both a count and a time are reached.

    Args:
        step: Runs a step to its end on the device.
        plan: Has the fewest steps.
        clock: Returns seconds from any origin.
        pace: Decides whether another one runs.

    Returns:
        How many steps ran.
    """
    begin = clock()
    count = 0
    while pace.go_on(count < plan.num_warmup_steps or clock() - begin < _MIN_WARMUP_TIME_S):
        with pace.careful() if count < _NUM_CAREFUL_STEPS else nullcontext():
            step()
        count += 1
    return count


def time_steps(
    step: Callable[[], float],
    plan: TimingPlan,
    clock: Callable[[], float],
    between: Callable[[], object] = lambda: None,
    pace: Pace = ALONE,
) -> TimingRound:
    """Time one step after the other; of steps of several passes, the time of a pass.

    Args:
        step: Runs a step to its end on the device; returns the seconds it waited for data.
        plan: When to stop.
        clock: Returns seconds from any origin.
        between: Called after each step, outside the timing.
        pace: Decides whether another one runs.
    """
    step_times: list[float] = []
    data_times: list[float] = []
    begin = clock()
    while pace.go_on(not is_enough(step_times, plan, clock() - begin)):
        step_begin = clock()
        data_times.append(step() / plan.num_passes)
        step_times.append((clock() - step_begin) / plan.num_passes)
        between()
    return TimingRound(
        number=plan.round_number,
        step_times_s=tuple(step_times),
        data_times_s=tuple(data_times),
    )


def time_chains(
    launch: Callable[[], float],
    device: Device,
    plan: TimingPlan,
    clock: Callable[[], float],
    between: Callable[[], object] = lambda: None,
    pace: Pace = ALONE,
    *,
    step_time_s: float,
) -> TimingRound:
    """Time chains of steps by the device's own marks after each; as ``time_steps`` else.

    Args:
        launch: Launches a step and returns the seconds that the host waited for data.
        device: Has been waited for; gives marks.
        plan: When to stop.
        clock: Returns seconds from any origin.
        between: Called after each chain, outside the timing.
        pace: Decides whether another one runs.
        step_time_s: What a step takes, about: how many make a chain.
    """
    length = min(_MOST_IN_CHAIN, max(1, round(_CHAIN_TIME_S / max(step_time_s, 1e-6))))
    length = pace.agree(length)
    step_times: list[float] = []
    data_times: list[float] = []
    begin = clock()
    while pace.go_on(not is_enough(step_times, plan, clock() - begin)):
        data, marks = [], []
        for _ in range(length + 1):  # the first fills the queue, and does not count
            data.append(launch())
            marks.append(device.mark())
        end_of_host = clock()
        device.synchronize()
        ahead_s = clock() - end_of_host
        times = [_seconds_between(*pair) for pair in itertools.pairwise(marks)]
        step_times += [time_s / plan.num_passes for time_s in times]
        # With a step in the queue all the while, the device has waited for no batch.
        is_ahead = ahead_s > max(times)
        data_times += [0.0 if is_ahead else time_s / plan.num_passes for time_s in data[1:]]
        between()
    return TimingRound(
        number=plan.round_number,
        step_times_s=tuple(step_times),
        data_times_s=tuple(data_times),
    )


def _seconds_between(first: Mark | None, second: Mark | None) -> float:
    assert first is not None
    return first.elapsed_time(second) / 1000


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

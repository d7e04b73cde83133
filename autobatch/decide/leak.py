"""Whether memory grows from step to step, as it does where a training keeps what it computed.

An allocator settles over the first steps of a process: a plain loop of one such step peaked at
570, 577, 582, 584, 584, 587, 587, 587 MiB. So growth counts only if it goes on for ten steps, and
without slowing down.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

_FEWEST_STEPS = 10
_FEWEST_WINDOWS = 3
_SMALLEST_GROWTH_BYTES = 2**20
_SMALLEST_GROWTH_FRACTION = 0.003
_STEADY_RATIO = 0.5


def find_growth_bytes_per_step(peaks_bytes: Sequence[int], num_steps: Sequence[int]) -> float:
    """Bytes by which each step raises the peak; 0 if it does not, or too few steps ran.

    Args:
        peaks_bytes: Peak of each window of a run, in order.
        num_steps: Steps of each window.
    """
    if sum(num_steps) < _FEWEST_STEPS or not _has_grown(peaks_bytes):
        return 0.0
    growth = (peaks_bytes[-1] - peaks_bytes[0]) / sum(num_steps[1:])
    steps = zip(pairwise(peaks_bytes), num_steps[1:], strict=True)
    slowest = min((later - earlier) / count for (earlier, later), count in steps)
    return growth if slowest >= _STEADY_RATIO * growth else 0.0


def needs_more_steps(peaks_bytes: Sequence[int], num_steps: Sequence[int]) -> bool:
    """Whether memory has grown so far, in too few steps to say more.

    Args:
        peaks_bytes: Peak of each window of a run, in order.
        num_steps: Steps of each window.
    """
    return sum(num_steps) < _FEWEST_STEPS and _has_grown(peaks_bytes)


def _has_grown(peaks_bytes: Sequence[int]) -> bool:
    """Whether every window peaked above the one before: by a MiB, and 0.3 % of the peak."""
    if len(peaks_bytes) < _FEWEST_WINDOWS:
        return False
    threshold = max(_SMALLEST_GROWTH_BYTES, _SMALLEST_GROWTH_FRACTION * peaks_bytes[-1])
    return min(later - earlier for earlier, later in pairwise(peaks_bytes)) > threshold

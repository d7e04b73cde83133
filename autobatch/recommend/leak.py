"""Whether memory grows from step to step."""

from __future__ import annotations

from itertools import pairwise

from autobatch.records import Confirmation

_SMALLEST_GROWTH_BYTES = 2**20
_SMALLEST_GROWTH_FRACTION = 0.003


def find_growth_bytes_per_step(confirmation: Confirmation) -> float:
    """Bytes by which each step raises the peak; 0 if it does not.

    Every part of the run must peak above the one before, by more than an allocator's own
    settling: a MiB, and 0.3 % of the peak.

    Args:
        confirmation: A run in three parts or more, of about as many steps each.
    """
    peaks = confirmation.window_peaks_bytes
    if len(peaks) < 3:
        return 0.0
    threshold = max(_SMALLEST_GROWTH_BYTES, _SMALLEST_GROWTH_FRACTION * peaks[-1])
    growths = [later - earlier for earlier, later in pairwise(peaks)]
    if min(growths) <= threshold:
        return 0.0
    num_steps = sum(confirmation.window_num_steps[1:])
    if num_steps:  # a slow moment may leave one part with few steps
        return (peaks[-1] - peaks[0]) / num_steps
    steps_per_window = confirmation.num_steps / len(peaks)
    return (peaks[-1] - peaks[0]) / (len(peaks) - 1) / steps_per_window

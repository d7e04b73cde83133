"""The largest batch size that fits, in few replays."""

from __future__ import annotations

from collections.abc import Callable

# What takes no more memory with more samples is limited by something else.
_MAX_BATCH_SIZE = 2**20
# Part of a guess that the search steps by at first.
_STEP_FRACTION = 1 / 64


def find_largest(fits: Callable[[int], bool], guess: int) -> int:
    """The largest size that fits, where all smaller ones do.

    Args:
        fits: Whether a size does; costly.
        guess: Where to begin.

    Returns:
        The size; 0 if none fits.
    """
    size = max(1, min(guess, _MAX_BATCH_SIZE))
    step = max(1, int(_STEP_FRACTION * size))
    if fits(size):
        low, high = size, size + step
        while high < _MAX_BATCH_SIZE and fits(high):
            low, step = high, 2 * step
            high = low + step
    else:
        low, high = size - step, size
        while low > 0 and not fits(low):
            high, step = low, 2 * step
            low = high - step
    low, high = max(0, low), min(high, _MAX_BATCH_SIZE)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low

"""The allocator's sizes, in bytes: blocks, segments, pages."""

from __future__ import annotations

#: Requests are rounded up to multiples of this: ``kMinBlockSize``.
MIN_BLOCK_BYTES = 512
#: Requests up to this come from small segments: ``kSmallSize``.
SMALL_BYTES = 2**20
#: Size of a small segment: ``kSmallBuffer``.
SMALL_SEGMENT_BYTES = 2 * 2**20
#: Size of the segment of a request between small and ``_LARGE_BYTES``: ``kLargeBuffer``.
LARGE_SEGMENT_BYTES = 20 * 2**20
# Requests from this on have a segment of their own, in steps of the other: ``kMinLargeAlloc``,
# ``kRoundLarge``.
_LARGE_BYTES = 10 * 2**20
_LARGE_STEP_BYTES = 2 * 2**20


def is_small(size: int) -> bool:
    """Whether a block of this size comes from the pool of small segments."""
    return size <= SMALL_BYTES


def segment_bytes(size: int) -> int:
    """Size of the segment that is asked of the driver for a block of this size."""
    if is_small(size):
        return SMALL_SEGMENT_BYTES
    if size < _LARGE_BYTES:
        return LARGE_SEGMENT_BYTES
    return round_up(size, _LARGE_STEP_BYTES)


def mapped_bytes(size: int, *, in_small_pool: bool) -> int:
    """Bytes that an expandable segment maps to grow by ``size``.

    Args:
        size: Bytes that are needed.
        in_small_pool: Whether the segment is of the pool of small blocks.
    """
    return round_up(size, page_bytes(in_small_pool=in_small_pool))


def page_bytes(*, in_small_pool: bool) -> int:
    """Unit in which an expandable segment is mapped and unmapped.

    Args:
        in_small_pool: Whether the segment is of the pool of small blocks.
    """
    return SMALL_SEGMENT_BYTES if in_small_pool else LARGE_SEGMENT_BYTES


def round_up(number: int, step: int) -> int:
    """The least multiple of ``step`` that is at least ``number``."""
    return -(-number // step) * step

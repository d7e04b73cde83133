"""Blocks of memory, side by side in segments, and the pools that keep the free ones."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from autobatch.prediction.allocator.settings import AllocatorSettings
from autobatch.prediction.allocator.sizes import (
    LARGE_SEGMENT_BYTES,
    MIN_BLOCK_BYTES,
    SMALL_BYTES,
)


@dataclass(eq=False, slots=True, kw_only=True)
class Block:
    """A stretch of a segment, in use or free.

    Attributes:
        address: Where it begins.
        size: Its bytes.
        pool: The pool that its segment is of.
        stream: The stream that it was allocated for.
        segment_address: Where its segment begins.
        is_expandable: Whether its segment is one that grows in place.
        is_mapped: Whether there is memory behind it; only an expandable segment has other blocks.
        is_allocated: Whether it is in use.
        requested_bytes: What was asked for, where it is in use.
        free_since: Searches that its pool had seen when it became free.
        before: The block that ends where this one begins, in the same segment.
        after: The block that begins where this one ends.
    """

    address: int
    size: int
    pool: Pool
    stream: int
    segment_address: int
    is_expandable: bool = False
    is_mapped: bool = True
    is_allocated: bool = False
    requested_bytes: int = 0
    free_since: int = 0
    before: Block | None = None
    after: Block | None = None

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.address + self.size

    @property
    def is_whole_segment(self) -> bool:
        """Whether its segment has no other block."""
        return self.before is None and self.after is None

    @property
    def can_grow_to(self) -> int:
        """Its size with the unmapped block behind it."""
        has_room = self.after is not None and not self.after.is_mapped
        return self.size + (self.after.size if has_room and self.after else 0)

    def split(self, size: int) -> Block:
        """Cut off what lies behind the first ``size`` bytes; return it, in no pool."""
        rest = Block(
            address=self.address + size,
            size=self.size - size,
            pool=self.pool,
            stream=self.stream,
            segment_address=self.segment_address,
            is_expandable=self.is_expandable,
            is_mapped=self.is_mapped,
            before=self,
            after=self.after,
        )
        if self.after is not None:
            self.after.before = rest
        self.after = rest
        self.size = size
        return rest

    def merge_neighbours(self) -> None:
        """Take in the free blocks on both sides, and out of their pool."""
        for other in (self.before, self.after):
            if other is None or other.is_allocated or other.is_mapped != self.is_mapped:
                continue
            other.pool.remove(other)
            if other is self.before:
                self.address, self.before = other.address, other.before
                if self.before is not None:
                    self.before.after = self
            else:
                self.after = other.after
                if self.after is not None:
                    self.after.before = self
            self.size += other.size


class Pool:
    """The free blocks of small segments, or those of large ones.

    Args:
        is_small: Which of the two.

    Attributes:
        num_searches: Times that it was searched, where blocks that were not taken for long are
            given back; else 0.
    """

    def __init__(self, *, is_small: bool) -> None:
        self.is_small = is_small
        self.num_searches = 0
        self._mapped = _Sorted()
        self._unmapped = _Sorted()

    def add(self, block: Block) -> None:
        """Keep a free block."""
        block.free_since = self.num_searches
        self._of(block).add(block)

    def remove(self, block: Block) -> None:
        """Take a block out."""
        self._of(block).remove(block)

    def blocks(self) -> list[Block]:
        """Free blocks with memory behind them: by stream, size, address."""
        return list(self._mapped.from_key((0, 0, 0)))

    def unmapped(self, stream: int) -> list[Block]:
        """Blocks without memory behind them, by address."""
        return [block for block in self._unmapped.from_key((0, 0, 0)) if block.stream == stream]

    def of_stream(self, stream: int, size: int = 0) -> Iterator[Block]:
        """Free blocks with memory behind them, by size and address.

        Args:
            stream: Their stream.
            size: Least bytes that they have.
        """
        for block in self._mapped.from_key((stream, size, 0)):
            if block.stream != stream:
                return
            yield block

    def find(self, size: int, stream: int, settings: AllocatorSettings) -> Block | None:
        """The block that fits best, ``None`` if none is large enough (``get_free_block``).

        Args:
            size: Bytes that it must have.
            stream: The stream that it must be of.
            settings: Of the allocator.
        """
        best = self._best_fit(size, stream, settings)
        if best is None:
            return None
        if not settings.is_oversize(size):
            return None if settings.is_oversize(best.size) else best
        # What is not split may be larger by less than a segment (``max_non_split_rounding_mb``).
        return best if best.size < size + LARGE_SEGMENT_BYTES else None

    def splits(self, block: Block, size: int, settings: AllocatorSettings) -> bool:
        """Whether the rest of a block becomes a free block (``should_split``).

        Args:
            block: Of this pool.
            size: Bytes of it that are used.
            settings: Of the allocator.
        """
        rest = block.size - size
        if self.is_small or settings.expandable_segments:
            return rest >= MIN_BLOCK_BYTES
        return rest > SMALL_BYTES and not settings.is_oversize(size)

    def _best_fit(self, size: int, stream: int, settings: AllocatorSettings) -> Block | None:
        candidates = self.of_stream(stream, size)
        if not settings.expandable_segments:
            return next((block for block in candidates if not block.is_expandable), None)
        best = next(candidates, None)
        # Of expandable segments, the one with the least room ahead of it is filled first.
        while best is not None and best.is_expandable:
            other = next(candidates, None)
            if other is None or other.can_grow_to >= best.can_grow_to:
                break
            best = other
        return best

    def _of(self, block: Block) -> _Sorted:
        return self._mapped if block.is_mapped else self._unmapped


class _Sorted:
    """Blocks in the order of stream, size and address; unmapped ones by address alone."""

    def __init__(self) -> None:
        self._keys: list[tuple[int, int, int]] = []
        self._blocks: dict[int, Block] = {}

    def add(self, block: Block) -> None:
        bisect.insort(self._keys, _key(block))
        self._blocks[block.address] = block

    def remove(self, block: Block) -> None:
        index = bisect.bisect_left(self._keys, _key(block))
        assert self._keys[index] == _key(block), "the block is not in its pool"
        del self._keys[index], self._blocks[block.address]

    def from_key(self, key: tuple[int, int, int]) -> Iterator[Block]:
        for index in range(bisect.bisect_left(self._keys, key), len(self._keys)):
            yield self._blocks[self._keys[index][2]]


def _key(block: Block) -> tuple[int, int, int]:
    return (block.stream, block.size, block.address) if block.is_mapped else (0, 0, block.address)

"""Blocks of memory, side by side in segments, and the pools that keep the free ones."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from autobatch.prediction.allocator.sizes import MIN_BLOCK_BYTES, SMALL_BYTES


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
    """

    def __init__(self, *, is_small: bool) -> None:
        self.is_small = is_small
        self._mapped = _Sorted()
        self._unmapped = _Sorted()

    def add(self, block: Block) -> None:
        """Keep a free block."""
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

    def find(self, size: int, stream: int) -> Block | None:
        """The block that fits best, ``None`` if none is large enough.

        Args:
            size: Bytes that it must have.
            stream: The stream that it must be of.
        """
        candidates = iter(self._mapped.from_key((stream, size, 0)))
        best = next(candidates, None)
        if best is None or best.stream != stream:
            return None
        for other in candidates:
            # Of expandable segments, the one with the least room ahead of it is filled first.
            is_better = other.stream == stream and other.can_grow_to < best.can_grow_to
            if not best.is_expandable or not is_better:
                break
            best = other
        return best

    def splits(self, block: Block, size: int) -> bool:
        """Whether the rest of a block becomes a free block, if ``size`` bytes of it are used.

        Args:
            block: Of this pool.
            size: Bytes that are used.
        """
        rest = block.size - size
        if self.is_small or block.is_expandable:
            return rest >= MIN_BLOCK_BYTES
        return rest > SMALL_BYTES

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

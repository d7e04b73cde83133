"""Segments that grow in place: address space with memory mapped into a part of it.

[ in use | free | in use | free | unmapped ................ ]
"""

from __future__ import annotations

from autobatch.prediction.allocator.blocks import Block, Pool
from autobatch.prediction.allocator.driver import Driver
from autobatch.prediction.allocator.sizes import mapped_bytes, page_bytes


def grow(pool: Pool, size: int, stream: int, driver: Driver) -> tuple[Block | None, int]:
    """Map memory until there is a free block of a size.

    Args:
        pool: Where to look for room.
        size: Bytes that the block must have.
        stream: The stream that it must be of.
        driver: Maps the memory.

    Returns:
        The block, in no pool, or ``None`` if the driver has not so much; and the bytes mapped.
    """
    block = _find_room(pool, size, stream) or _reserve(pool, stream, driver)
    num_bytes = 0
    if not block.is_mapped:
        num_bytes += _map(block, min(block.size, size), driver)
        if not num_bytes:
            return None, 0
    while block.size < size:
        following = block.after
        assert following is not None, "there was room"
        added_bytes = _map(following, min(size - block.size, following.size), driver)
        num_bytes += added_bytes
        if not added_bytes:
            return None, num_bytes
        block = following  # it has taken in the free block before it
    pool.remove(block)
    return block, num_bytes


def unmap_pages(block: Block, driver: Driver) -> int:
    """Unmap the whole pages of a free block; what remains at its ends stays free.

    Args:
        block: A free block of an expandable segment.
        driver: Unmaps the memory.

    Returns:
        Bytes unmapped.
    """
    pool, page = block.pool, page_bytes(in_small_pool=block.pool.is_small)
    base = block.segment_address
    begin = base + -(-(block.address - base) // page) * page
    end = base + (block.end - base) // page * page
    if end <= begin:
        return 0
    pool.remove(block)
    inner = block
    if begin > block.address:
        inner = block.split(begin - block.address)
        pool.add(block)
    if inner.end > end:
        pool.add(inner.split(end - inner.address))
    driver.unmap(begin, end - begin)
    inner.is_mapped = False
    inner.merge_neighbours()
    pool.add(inner)
    return end - begin


def _find_room(pool: Pool, size: int, stream: int) -> Block | None:
    for block in pool.unmapped(stream):
        is_after_free = block.before is not None and not block.before.is_allocated
        first = block.before if is_after_free and block.before is not None else block
        if _has_room(first, size):
            return first
    return None


def _has_room(block: Block | None, size: int) -> bool:
    num_bytes = 0
    while num_bytes < size and block is not None and not block.is_allocated:
        num_bytes += block.size
        block = block.after
    return num_bytes >= size


def _reserve(pool: Pool, stream: int, driver: Driver) -> Block:
    address, size = driver.reserve()
    block = Block(
        address=address,
        size=size,
        pool=pool,
        stream=stream,
        segment_address=address,
        is_expandable=True,
        is_mapped=False,
    )
    pool.add(block)
    return block


def _map(block: Block, size: int, driver: Driver) -> int:
    """Map the front of an unmapped block, merge it with a free one before it; bytes mapped."""
    pool = block.pool
    num_bytes = min(block.size, mapped_bytes(size, in_small_pool=pool.is_small))
    if not driver.map(block.address, num_bytes):
        return 0
    pool.remove(block)
    if num_bytes < block.size:
        pool.add(block.split(num_bytes))
    block.is_mapped = True
    block.merge_neighbours()
    pool.add(block)
    return num_bytes

"""What of the cache is given back to the driver: all of it, what is old, or what is oversize."""

from __future__ import annotations

from collections.abc import Iterable

from autobatch.prediction.allocator.blocks import Block, Pool
from autobatch.prediction.allocator.driver import Driver
from autobatch.prediction.allocator.expandable import unmap_pages
from autobatch.prediction.allocator.settings import AllocatorSettings


def release_all(pools: Iterable[Pool], driver: Driver) -> int:
    """Give back every segment that is wholly free (``release_cached_blocks``).

    Args:
        pools: What is cached.
        driver: Takes it back.

    Returns:
        Bytes given back.
    """
    num_bytes = 0
    for pool in pools:
        for block in pool.blocks():
            if block.is_expandable:
                num_bytes += unmap_pages(block, driver)
            elif block.is_whole_segment:
                num_bytes += _release(block, driver)
    return num_bytes


def release_old(pool: Pool, target_bytes: int, driver: Driver) -> int:
    """Give back segments that have been free for long (``garbage_collect_cached_blocks``).

    Args:
        pool: That of large blocks.
        target_bytes: How much is to be given back, if there is so much.
        driver: Takes it back.

    Returns:
        Bytes given back: those as old as their average and older, until the target is met.
    """
    ages = {
        block.address: pool.num_searches - block.free_since
        for block in pool.blocks()
        if block.is_whole_segment
    }
    total_age, num_bytes = sum(ages.values()), 0
    while ages and num_bytes < target_bytes:
        average, before = total_age / len(ages), num_bytes
        for block in pool.blocks():
            age = ages.get(block.address, -1)
            if age >= average and not block.is_expandable:
                num_bytes += _release(block, driver)
                total_age -= ages.pop(block.address)
        if num_bytes == before:
            break
    return num_bytes


def release_oversize(
    pool: Pool, size: int, stream: int, settings: AllocatorSettings, driver: Driver
) -> tuple[int, bool]:
    """Give back blocks that are not split (``release_available_cached_blocks``).

    Args:
        pool: Where to look.
        size: Bytes that are needed.
        stream: The stream that asks.
        settings: Of the allocator.
        driver: Takes them back.

    Returns:
        Bytes given back, and whether they are as many as are needed.
    """
    if settings.max_split_bytes is None:
        return 0, False
    needed_bytes, num_bytes = max(size, settings.max_split_bytes), 0
    fitting = next(pool.of_stream(stream, needed_bytes), None)
    if fitting is not None and not fitting.is_expandable:
        return _release(fitting, driver), True
    smaller = [
        each
        for each in pool.of_stream(stream, settings.max_split_bytes)
        if each.size < needed_bytes
    ]
    for block in reversed(smaller):
        if num_bytes < needed_bytes and not block.is_expandable:
            num_bytes += _release(block, driver)
    return num_bytes, num_bytes >= needed_bytes


def _release(block: Block, driver: Driver) -> int:
    block.pool.remove(block)
    driver.free(block.address, block.size)
    return block.size

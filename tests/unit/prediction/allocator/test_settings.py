"""The allocator's settings: the rules that PyTorch's sources state, one by one."""

from __future__ import annotations

import pytest

from autobatch.prediction.allocator import AllocatorSettings, CachingAllocator, Driver, OutOfMemory

MIB = 2**20
GIB = 2**30


def reserved_mib(allocator: CachingAllocator) -> float:
    return allocator.statistics.reserved_bytes / MIB


@pytest.mark.parametrize(
    ("asked", "rounded"),
    [
        (1200, 1536),  # not more than 4 x 512 bytes: as without divisions
        (2048, 2048),
        (2049, 2560),
        (5 * MIB + 1, 6 * MIB),  # 4 MiB in 4 parts
        (6 * MIB, 6 * MIB),
        (8 * MIB - 1, 8 * MIB),
        (300 * GIB, 320 * GIB),  # beyond the last interval: as the last one
    ],
)
def test_sizes_are_rounded_up_to_parts_of_a_power_of_two(asked: int, rounded: int) -> None:
    assert AllocatorSettings(roundup_divisions=(4,) * 16).round_size(asked) == rounded


def test_each_power_of_two_from_1_mib_on_has_its_own_divisions() -> None:
    settings = AllocatorSettings(roundup_divisions=(0, 2, 8, *(0,) * 13))
    assert settings.round_size(MIB + 1) == MIB + 512
    assert settings.round_size(2 * MIB + 1) == 3 * MIB
    assert settings.round_size(4 * MIB + 1) == 4 * MIB + MIB // 2
    assert settings.round_size(700_000) == 700_416, "below 1 MiB as from 1 to 2 MiB"


def test_a_large_request_is_not_served_from_part_of_an_oversize_block() -> None:
    allocator = CachingAllocator(settings=AllocatorSettings(max_split_bytes=100 * MIB))
    allocator.free(allocator.allocate(100 * MIB))
    allocator.allocate(50 * MIB)
    assert reserved_mib(allocator) == 150
    usual = CachingAllocator()
    usual.free(usual.allocate(100 * MIB))
    usual.allocate(50 * MIB)
    assert reserved_mib(usual) == 100


def test_an_oversize_block_serves_what_is_less_than_20_mib_smaller_and_is_not_split() -> None:
    allocator = CachingAllocator(settings=AllocatorSettings(max_split_bytes=100 * MIB))
    allocator.free(allocator.allocate(130 * MIB))
    block = allocator.allocate(110 * MIB + 512)
    assert (block.size, reserved_mib(allocator)) == (130 * MIB, 130)
    allocator.free(block)
    allocator.allocate(110 * MIB)
    assert reserved_mib(allocator) == 240, "20 MiB less is too much less"


def test_at_the_limit_one_oversize_block_is_given_back_before_the_whole_cache() -> None:
    settings = AllocatorSettings(max_split_bytes=100 * MIB)
    allocator = CachingAllocator(Driver(400 * MIB), settings=settings)
    held = [allocator.allocate(size * MIB) for size in (40, 120, 160)]
    for block in held:
        allocator.free(block)
    allocator.allocate(140 * MIB)  # 160 would do, were it not 20 MiB more
    assert reserved_mib(allocator) == 40 + 120 + 140
    assert allocator.statistics.num_alloc_retries == 0


def test_several_oversize_blocks_are_given_back_where_one_is_too_small_largest_first() -> None:
    settings = AllocatorSettings(max_split_bytes=100 * MIB)
    allocator = CachingAllocator(Driver(400 * MIB), settings=settings)
    held = [allocator.allocate(size * MIB) for size in (50, 100, 110, 120)]
    for block in held:
        allocator.free(block)
    allocator.allocate(200 * MIB)
    assert reserved_mib(allocator) == 50 + 100 + 200
    assert allocator.statistics.num_alloc_retries == 0


def test_if_oversize_blocks_are_not_enough_the_whole_cache_is_given_back() -> None:
    settings = AllocatorSettings(max_split_bytes=100 * MIB)
    allocator = CachingAllocator(Driver(400 * MIB), settings=settings)
    held = [allocator.allocate(size * MIB) for size in (90, 90, 90, 100)]
    for block in held:
        allocator.free(block)
    allocator.allocate(300 * MIB)
    assert reserved_mib(allocator) == 300
    assert allocator.statistics.num_alloc_retries == 1


def test_above_the_threshold_the_oldest_segments_are_given_back_before_a_new_one() -> None:
    settings = AllocatorSettings(garbage_collection_fraction=0.5)
    allocator = CachingAllocator(cap_bytes=1000 * MIB, settings=settings)
    held = [allocator.allocate(size * MIB) for size in (200, 210, 220)]
    for block in held:
        allocator.free(block)
    for _ in range(3):  # 220 is used again and again, 200 and 210 grow old
        allocator.free(allocator.allocate(215 * MIB))
    allocator.allocate(300 * MIB)
    assert reserved_mib(allocator) == 220 + 300
    assert allocator.statistics.num_alloc_retries == 0


@pytest.mark.parametrize("cap_mib", [None, 2000])
def test_below_the_threshold_or_without_a_cap_nothing_is_given_back(cap_mib: int | None) -> None:
    settings = AllocatorSettings(garbage_collection_fraction=0.5)
    cap_bytes = None if cap_mib is None else cap_mib * MIB
    allocator = CachingAllocator(cap_bytes=cap_bytes, settings=settings)
    allocator.free(allocator.allocate(600 * MIB))
    allocator.allocate(700 * MIB)
    assert reserved_mib(allocator) == 1300


def test_what_another_stream_uses_is_not_served_until_that_ends() -> None:
    allocator = CachingAllocator()
    block = allocator.allocate(30 * MIB)
    allocator.free(block, is_used_elsewhere=True)
    assert allocator.statistics.allocated_bytes == 0
    other = allocator.allocate(30 * MIB)
    assert other.address != block.address
    allocator.end_use(block)
    assert allocator.allocate(30 * MIB).address == block.address
    assert reserved_mib(allocator) == 60


def test_what_another_stream_uses_does_not_merge_with_its_neighbours() -> None:
    allocator = CachingAllocator()
    first, second = allocator.allocate(10 * MIB - 512), allocator.allocate(10 * MIB - 512)
    allocator.free(first, is_used_elsewhere=True)
    allocator.free(second)
    allocator.allocate(20 * MIB)
    assert reserved_mib(allocator) == 40


def test_at_the_limit_the_allocator_waits_for_the_other_streams() -> None:
    allocator = CachingAllocator(Driver(50 * MIB))
    block = allocator.allocate(30 * MIB)
    allocator.free(block, is_used_elsewhere=True)
    allocator.allocate(40 * MIB)
    assert allocator.statistics.num_alloc_retries == 1
    allocator.end_use(block)  # says nothing new
    assert reserved_mib(allocator) == 40


def test_without_expandable_segments_their_blocks_are_left_alone() -> None:
    allocator = CachingAllocator(settings=AllocatorSettings(expandable_segments=True))
    allocator.free(allocator.allocate(60 * MIB))
    allocator.settings = AllocatorSettings()
    allocator.allocate(60 * MIB)
    assert reserved_mib(allocator) == 120


def test_out_of_memory_comes_after_all_ways_of_giving_back() -> None:
    settings = AllocatorSettings(max_split_bytes=100 * MIB)
    allocator = CachingAllocator(Driver(300 * MIB), settings=settings)
    kept = allocator.allocate(50 * MIB)
    allocator.free(allocator.allocate(120 * MIB))
    with pytest.raises(OutOfMemory):
        allocator.allocate(251 * MIB)
    assert reserved_mib(allocator) == 50
    allocator.free(kept)

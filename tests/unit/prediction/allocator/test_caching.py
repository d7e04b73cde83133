"""The model of the allocator: the rules that PyTorch's sources state, one by one."""

from __future__ import annotations

import pytest

from autobatch.prediction.allocator import (
    AllocatorSettings,
    CachingAllocator,
    Driver,
    OutOfMemory,
    segment_bytes,
)

MIB = 2**20
EXPANDABLE = AllocatorSettings(expandable_segments=True)


def reserved_mib(allocator: CachingAllocator) -> float:
    return allocator.statistics.reserved_bytes / MIB


@pytest.mark.parametrize(
    ("asked", "rounded"),
    [(1, 512), (512, 512), (513, 1024), (MIB, MIB), (MIB + 1, MIB + 512)],
)
def test_requests_are_rounded_up_to_512_bytes(asked: int, rounded: int) -> None:
    assert AllocatorSettings().round_size(asked) == rounded


@pytest.mark.parametrize(
    ("size", "segment"),
    [
        (512, 2 * MIB),
        (MIB, 2 * MIB),
        (MIB + 512, 20 * MIB),
        (10 * MIB - 512, 20 * MIB),
        (10 * MIB, 10 * MIB),
        (10 * MIB + 512, 12 * MIB),
        (33 * MIB, 34 * MIB),
    ],
)
def test_a_segment_has_2_or_20_mib_or_its_own_size_in_steps_of_2(size: int, segment: int) -> None:
    assert segment_bytes(size) == segment
    allocator = CachingAllocator()
    allocator.allocate(size)
    assert allocator.statistics.reserved_bytes == segment


def test_small_and_large_requests_do_not_share_segments() -> None:
    allocator = CachingAllocator()
    large = allocator.allocate(2 * MIB)
    allocator.free(large)
    allocator.allocate(MIB)
    assert reserved_mib(allocator) == 22


def test_the_rest_of_a_small_block_is_split_off_from_512_bytes_on() -> None:
    allocator = CachingAllocator()
    first = allocator.allocate(MIB)
    second = allocator.allocate(MIB - 512)
    third = allocator.allocate(512)
    assert (second.address, third.address) == (first.end, second.end)
    assert reserved_mib(allocator) == 2


def test_the_rest_of_a_large_block_is_split_off_above_one_mib_alone() -> None:
    allocator = CachingAllocator()
    allocator.free(allocator.allocate(20 * MIB))
    whole = allocator.allocate(19 * MIB)
    assert whole.size == 20 * MIB, "a rest of exactly one MiB is not split off"
    allocator.free(whole)
    assert allocator.allocate(19 * MIB - 512).size == 19 * MIB - 512


def test_the_smallest_block_that_is_large_enough_is_taken_and_of_two_the_lower_one() -> None:
    allocator = CachingAllocator()
    held = [allocator.allocate(size * MIB) for size in (40, 30, 30, 50)]
    for block in held:
        allocator.free(block)
    assert allocator.allocate(25 * MIB).address == min(held[1].address, held[2].address)


def test_freed_neighbours_become_one_block() -> None:
    allocator = CachingAllocator()
    parts = [allocator.allocate(5 * MIB) for _ in range(4)]
    assert reserved_mib(allocator) == 20
    for index in (0, 2, 1, 3):
        allocator.free(parts[index])
    assert allocator.allocate(20 * MIB).address == parts[0].address
    assert reserved_mib(allocator) == 20


def test_a_stream_does_not_get_the_blocks_of_another() -> None:
    allocator = CachingAllocator()
    allocator.free(allocator.allocate(5 * MIB, stream=1))
    allocator.allocate(5 * MIB, stream=2)
    assert reserved_mib(allocator) == 40


def test_what_is_released_are_segments_that_are_wholly_free() -> None:
    allocator = CachingAllocator()
    kept = allocator.allocate(5 * MIB)
    allocator.free(allocator.allocate(5 * MIB))
    allocator.free(allocator.allocate(30 * MIB))
    assert reserved_mib(allocator) == 50
    assert allocator.release_cached() == 30 * MIB
    allocator.free(kept)
    assert allocator.release_cached() == 20 * MIB
    assert reserved_mib(allocator) == 0


def test_at_the_cap_the_cache_is_given_back_and_the_request_tried_again() -> None:
    allocator = CachingAllocator(cap_bytes=50 * MIB)
    allocator.free(allocator.allocate(30 * MIB))
    allocator.allocate(40 * MIB)
    assert reserved_mib(allocator) == 40
    assert allocator.statistics.peak_reserved_bytes == 40 * MIB
    assert allocator.statistics.num_alloc_retries == 1
    assert allocator.statistics.num_ooms == 0


def test_out_of_memory_says_what_was_asked_for_and_leaves_the_allocator_usable() -> None:
    allocator = CachingAllocator(cap_bytes=50 * MIB)
    held = allocator.allocate(30 * MIB)
    with pytest.raises(OutOfMemory, match=r"allocate 30\.0 MiB, 30\.0 MiB are allocated") as caught:
        allocator.allocate(30 * MIB)
    assert caught.value.requested_bytes == 30 * MIB
    assert allocator.statistics.num_alloc_retries == 1
    assert allocator.statistics.num_ooms == 1
    allocator.free(held)
    allocator.allocate(50 * MIB)


def test_the_drivers_memory_ends_as_a_cap_does() -> None:
    allocator = CachingAllocator(Driver(50 * MIB))
    allocator.free(allocator.allocate(30 * MIB))
    allocator.allocate(40 * MIB)
    assert allocator.statistics.num_alloc_retries == 1
    with pytest.raises(OutOfMemory, match="the driver's memory"):
        allocator.allocate(20 * MIB)


def test_peaks_count_blocks_segments_and_requests_and_can_be_reset() -> None:
    allocator = CachingAllocator()
    allocator.free(allocator.allocate(3 * MIB + 1))
    statistics = allocator.statistics
    assert statistics.peak_allocated_bytes == 3 * MIB + 512
    assert statistics.peak_requested_bytes == 3 * MIB + 1
    assert statistics.peak_reserved_bytes == 20 * MIB
    allocator.reset_peaks()
    assert statistics.peak_allocated_bytes == statistics.peak_requested_bytes == 0
    assert statistics.peak_reserved_bytes == 20 * MIB, "the cache is still there"


def test_fragments_keep_a_native_segment_from_serving_what_an_expandable_one_serves() -> None:
    """Steps that each ask for a little more: blocks of the last step are too small for the next."""
    reserved = {}
    for is_expandable in (False, True):
        allocator = CachingAllocator(settings=AllocatorSettings(expandable_segments=is_expandable))
        for size in range(30, 60, 3):
            allocator.free(allocator.allocate(size * MIB))
        reserved[is_expandable] = reserved_mib(allocator)
    assert reserved == {False: sum(size + size % 2 for size in range(30, 60, 3)), True: 60}


def test_an_expandable_segment_maps_pages_as_it_needs_them_and_unmaps_those_that_are_free() -> None:
    allocator = CachingAllocator(settings=EXPANDABLE)
    first = allocator.allocate(30 * MIB)
    second = allocator.allocate(30 * MIB)
    assert second.address == first.end
    assert reserved_mib(allocator) == 60
    allocator.free(first)
    assert allocator.release_cached() == 20 * MIB, "the page in the middle is half in use"
    assert allocator.allocate(30 * MIB).address == first.address, "its address space is used again"
    assert reserved_mib(allocator) == 60


def test_the_cap_is_held_against_a_whole_request_even_where_less_would_be_mapped() -> None:
    allocator = CachingAllocator(settings=EXPANDABLE, cap_bytes=100 * MIB)
    held = allocator.allocate(60 * MIB)
    allocator.free(held)
    with pytest.raises(OutOfMemory):
        allocator.allocate(101 * MIB)
    allocator.allocate(60 * MIB)
    assert allocator.statistics.num_alloc_retries == 1

from __future__ import annotations

import pytest

from autobatch.prediction.allocator import CachingAllocator, Driver

MIB = 2**20


def place(*sizes_mib: int) -> list[int]:
    """Addresses of segments, in MiB from the first one."""
    driver = Driver()
    addresses = [driver.allocate(size * MIB) for size in sizes_mib]
    assert all(addresses)
    return [((address or 0) - (addresses[0] or 0)) // MIB for address in addresses]


def test_each_segment_lies_below_the_one_before_in_steps_of_32_mib() -> None:
    assert place(512, 64, 30, 40) == [0, -64, -96, -160]


# From a recording of a transformer on a GPU: 100 and 26 MiB in turn.
def test_a_segment_finds_room_behind_one_that_does_not_fill_its_last_32_mib() -> None:
    assert place(100, 26, 100, 26) == [0, 100, -128, -28]
    assert place(40, 20, 20, 2) == [0, 40, -32, -12]


def test_of_several_rooms_the_lowest_is_taken() -> None:
    assert place(20, 100, 2, 2, 10)[2:] == [-28, -26, -24]


def test_of_two_free_blocks_that_fit_alike_that_of_the_later_segment_is_taken() -> None:
    allocator = CachingAllocator()
    first, second = allocator.allocate(64 * MIB), allocator.allocate(64 * MIB)
    for block in (first, second):
        allocator.free(block)
    assert allocator.allocate(64 * MIB).address == second.address < first.address


@pytest.mark.parametrize("capacity_mib", [64, 95])
def test_room_behind_a_segment_is_no_memory(capacity_mib: int) -> None:
    driver = Driver(capacity_mib * MIB)
    assert driver.allocate(40 * MIB)
    assert driver.allocate(20 * MIB)
    assert driver.allocate(36 * MIB) is None

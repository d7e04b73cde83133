"""A recorded trace through the model: agreement is counted, and so is every disagreement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autobatch.prediction.allocator import AllocatorSettings, CachingAllocator
from autobatch.prediction.allocator.replay import Event, EventKind, Segment, replay, restore

MIB = 2**20
BASE, OTHER = 2**40, 2**41
ALLOCATE, FREE, ADD, REMOVE = (EventKind(letter) for letter in "AFSR")

# A segment of 20 MiB with a block of 4 MiB in use and the rest free.
SEGMENT = Segment(address=BASE, size=20 * MIB, blocks=((BASE + 4 * MIB, 4 * MIB, 4 * MIB),))
EVENTS = (
    Event(kind=ALLOCATE, address=BASE, size=3 * MIB),  # best fit: the 4 MiB before it
    Event(kind=ALLOCATE, address=BASE + 8 * MIB, size=6 * MIB),
    Event(kind=ADD, address=OTHER, size=32 * MIB),
    Event(kind=ALLOCATE, address=OTHER, size=31 * MIB),
    Event(kind=FREE, address=OTHER, size=31 * MIB),
    Event(kind=FREE, address=BASE + 8 * MIB, size=6 * MIB),
    Event(kind=REMOVE, address=OTHER, size=32 * MIB),
    Event(kind=ALLOCATE, address=BASE + 8 * MIB, size=12 * MIB),
)


def test_a_trace_that_follows_the_rules_agrees_in_all() -> None:
    agreement = replay([SEGMENT], EVENTS)
    assert agreement.num_allocations == agreement.num_same_addresses == 4
    assert agreement.num_segment_decisions == agreement.num_same_segments == 1
    assert agreement.num_releases == agreement.num_same_releases == 1
    assert agreement.peak_reserved_bytes == agreement.recorded_peak_reserved_bytes == 52 * MIB
    assert agreement.peak_requested_bytes == 44 * MIB


@pytest.mark.parametrize(
    ("index", "changes", "figures"),
    [
        (0, {"address": BASE + 8 * MIB}, ("num_same_addresses", "num_allocations")),
        (2, {"size": 40 * MIB}, ("num_same_segments", "num_segment_decisions")),
        (6, {"size": 20 * MIB}, ("num_same_releases", "num_releases")),
    ],
)
def test_a_trace_that_breaks_a_rule_disagrees_in_one(
    index: int, changes: dict[str, int], figures: tuple[str, str]
) -> None:
    events = list(EVENTS)
    events[index] = replace(events[index], **changes)
    agreement = replay([SEGMENT], events)
    same, of = (getattr(agreement, name) for name in figures)
    assert same == of - 1


def test_a_segment_that_is_restored_has_its_blocks_and_its_gaps() -> None:
    allocator = CachingAllocator()
    (block,) = restore(allocator, SEGMENT)
    assert (block.address, block.size, block.is_allocated) == (BASE + 4 * MIB, 4 * MIB, True)
    free = sorted((each.address - BASE, each.size) for each in allocator.large.blocks())
    assert free == [(0, 4 * MIB), (8 * MIB, 12 * MIB)]
    assert allocator.statistics.reserved_bytes == 20 * MIB
    assert allocator.statistics.allocated_bytes == 4 * MIB


def test_an_expandable_segment_that_is_restored_grows_behind_its_end() -> None:
    segment = replace(SEGMENT, is_expandable=True, blocks=((BASE, 20 * MIB, 20 * MIB),))
    events = [
        Event(kind=EventKind.MAP, address=BASE + 20 * MIB, size=40 * MIB),
        Event(kind=ALLOCATE, address=BASE + 20 * MIB, size=30 * MIB),
        Event(kind=FREE, address=BASE + 20 * MIB, size=30 * MIB),
        Event(kind=EventKind.UNMAP, address=BASE + 20 * MIB, size=40 * MIB),
    ]
    agreement = replay([segment], events, AllocatorSettings(expandable_segments=True))
    assert agreement.num_same_addresses == agreement.num_same_segments == 1
    assert agreement.num_same_releases == 1
    assert agreement.peak_reserved_bytes == 60 * MIB

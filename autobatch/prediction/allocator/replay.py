"""A recorded trace through the model: does every request get the address that it got on the GPU?

What the replay is told is what no allocator decides: the requests, where the driver put each new
segment, and when the cache was given back. It predicts the block of each request, how large each
new segment is, and what giving the cache back frees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from autobatch.prediction.allocator.blocks import Block, Pool
from autobatch.prediction.allocator.caching import CachingAllocator
from autobatch.prediction.allocator.driver import Driver
from autobatch.prediction.allocator.settings import AllocatorSettings

_TAIL_BYTES = 2**45


class EventKind(Enum):
    """What happened, by the letter that a trace has for it.

    A block that another stream still uses (``record_stream``) is freed twice: ``FREE_LATER`` by the
    program, and ``FREE`` once that stream is done with it.
    """

    ALLOCATE = "A"
    FREE = "F"
    FREE_LATER = "L"
    ADD_SEGMENT = "S"
    REMOVE_SEGMENT = "R"
    MAP = "M"
    UNMAP = "U"
    OUT_OF_MEMORY = "O"


_ADDS = (EventKind.ADD_SEGMENT, EventKind.MAP)
_REMOVES = (EventKind.REMOVE_SEGMENT, EventKind.UNMAP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event of a trace.

    Attributes:
        kind: What happened.
        address: Where.
        size: Bytes: as requested for an allocation, else as reserved.
        stream: On which stream.
    """

    kind: EventKind
    address: int
    size: int
    stream: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A segment as a recording found it.

    Attributes:
        address: Where it begins.
        size: Its bytes.
        stream: Its stream.
        is_small: Whether it is of the pool of small blocks.
        is_expandable: Whether it grows in place.
        blocks: Address, size and requested bytes of each block in use; the rest is free.
    """

    address: int
    size: int
    stream: int = 0
    is_small: bool = False
    is_expandable: bool = False
    blocks: tuple[tuple[int, int, int], ...] = ()


@dataclass(slots=True, kw_only=True)
class Agreement:
    """How far the model and a recording agree.

    Attributes:
        num_allocations: Requests.
        num_same_addresses: Those that got the recorded address.
        num_segment_decisions: Requests for which either made or mapped a segment.
        num_same_segments: Those for which both did, of the same size.
        num_releases: Times that the cache was given back.
        num_same_releases: Those that freed as many bytes.
        recorded_peak_reserved_bytes: Highest sum of the recorded segments.
        peak_reserved_bytes: The model's.
        peak_requested_bytes: The model's.
    """

    num_allocations: int = 0
    num_same_addresses: int = 0
    num_segment_decisions: int = 0
    num_same_segments: int = 0
    num_releases: int = 0
    num_same_releases: int = 0
    recorded_peak_reserved_bytes: int = 0
    peak_reserved_bytes: int = 0
    peak_requested_bytes: int = 0


def replay(
    segments: Sequence[Segment],
    events: Sequence[Event],
    settings: AllocatorSettings | None = None,
) -> Agreement:
    """Send the requests of a trace to a model.

    Args:
        segments: The allocator's state when the recording began.
        events: What followed.
        settings: Those of the recorded process.
    """
    replaying = _Replay(segments, settings)
    for is_release, group in groupby(events, key=lambda event: event.kind in _REMOVES):
        if is_release:
            replaying.release(sum(event.size for event in group))
        else:
            for event in group:
                replaying.follow(event)
    return replaying.conclude()


def restore(allocator: CachingAllocator, segment: Segment) -> list[Block]:
    """Put a segment into an allocator as a recording found it; return its blocks in use.

    Args:
        allocator: To put it into; of expandable segments in the order of their addresses.
        segment: The segment.
    """
    pool = allocator.small if segment.is_small else allocator.large
    whole = _find_gap(pool, segment) or Block(
        address=segment.address,
        size=segment.size + (_TAIL_BYTES if segment.is_expandable else 0),
        pool=pool,
        stream=segment.stream,
        segment_address=segment.address,
        is_expandable=segment.is_expandable,
    )
    allocator.statistics.count(reserved=segment.size)
    if segment.is_expandable:
        tail = whole.split(segment.size)
        tail.is_mapped = False
        pool.add(tail)
    live, rest = [], whole
    for address, size, requested_bytes in sorted(segment.blocks):
        if address > rest.address:
            free, rest = rest, rest.split(address - rest.address)
            pool.add(free)
        block = rest
        block.is_allocated, block.requested_bytes = True, requested_bytes
        live.append(block)
        allocator.statistics.count(allocated=size, requested=requested_bytes)
        if block.size == size:
            return live
        rest = block.split(size)
    pool.add(rest)
    return live


def _find_gap(pool: Pool, segment: Segment) -> Block | None:
    """Address space of an expandable segment that goes on behind a gap without memory."""
    around = (
        block
        for block in (pool.unmapped(segment.stream) if segment.is_expandable else ())
        if block.address < segment.address < block.end
    )
    block = next(around, None)
    if block is None:
        return None
    pool.remove(block)
    whole = block.split(segment.address - block.address)
    pool.add(block)
    whole.is_mapped = True
    return whole


class _Replay:
    """A model on its way through a trace."""

    def __init__(self, segments: Sequence[Segment], settings: AllocatorSettings | None) -> None:
        self._driver = _RecordedDriver()
        self._allocator = CachingAllocator(self._driver, settings=settings)
        in_order = sorted(segments, key=lambda segment: segment.address)
        found = [block for each in in_order for block in restore(self._allocator, each)]
        self._live = {block.address: block for block in found}
        self._awaited: dict[int, Block] = {}
        self._recorded_bytes = self._allocator.statistics.reserved_bytes
        self._agreement = Agreement(recorded_peak_reserved_bytes=self._recorded_bytes)

    def follow(self, event: Event) -> None:
        if event.kind in _ADDS:
            self._driver.expected.append(event)
            self._record(event.size)
        elif event.kind is EventKind.ALLOCATE:
            self._allocate(event)
        elif event.kind is EventKind.FREE_LATER and event.address in self._live:
            block = self._awaited[event.address] = self._live.pop(event.address)
            self._allocator.free(block, is_used_elsewhere=True)
        elif event.kind is EventKind.FREE and event.address in self._awaited:
            self._allocator.end_use(self._awaited.pop(event.address))
        elif event.kind is EventKind.FREE and event.address in self._live:
            self._allocator.free(self._live.pop(event.address))

    def release(self, recorded_bytes: int) -> None:
        self._record(-recorded_bytes)
        self._agreement.num_releases += 1
        self._agreement.num_same_releases += self._allocator.release_cached() == recorded_bytes

    def conclude(self) -> Agreement:
        statistics = self._allocator.statistics
        self._agreement.peak_reserved_bytes = statistics.peak_reserved_bytes
        self._agreement.peak_requested_bytes = statistics.peak_requested_bytes
        return self._agreement

    def _allocate(self, event: Event) -> None:
        agreement, statistics = self._agreement, self._allocator.statistics
        expected_bytes = sum(each.size for each in self._driver.expected)
        before = statistics.reserved_bytes
        block = self._allocator.allocate(event.size, event.stream)
        added_bytes = statistics.reserved_bytes - before
        self._driver.expected.clear()
        self._live[event.address] = block
        agreement.num_allocations += 1
        agreement.num_same_addresses += block.address == event.address
        if expected_bytes or added_bytes:
            agreement.num_segment_decisions += 1
            agreement.num_same_segments += expected_bytes == added_bytes

    def _record(self, num_bytes: int) -> None:
        self._recorded_bytes += num_bytes
        self._agreement.recorded_peak_reserved_bytes = max(
            self._agreement.recorded_peak_reserved_bytes, self._recorded_bytes
        )


class _RecordedDriver(Driver):
    """Puts new segments where the recorded driver put them."""

    def __init__(self) -> None:
        super().__init__()
        self.expected: list[Event] = []

    def allocate(self, num_bytes: int) -> int | None:
        """Give a segment at the recorded address."""
        address = super().allocate(num_bytes)
        return self.expected[0].address if self.expected else address

    def reserve(self) -> tuple[int, int]:
        """Set the recorded address space aside."""
        address, size = super().reserve()
        return (self.expected[0].address if self.expected else address), size

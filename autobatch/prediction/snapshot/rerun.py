"""A recording under other settings, in another amount of memory: would it have fitted?

The requests are those of the recording, in its order. What was in use when it began is asked for
anew, in the order of its addresses, unless the settings are the recorded ones: then the allocator
begins in the recorded state.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autobatch.prediction.allocator import (
    AllocatorSettings,
    Block,
    CachingAllocator,
    Driver,
    OutOfMemory,
    segment_bytes,
)
from autobatch.prediction.allocator.replay import Event, EventKind, restore
from autobatch.prediction.snapshot.read import Recording

_ADDS = (EventKind.ADD_SEGMENT, EventKind.MAP)
_REMOVES = (EventKind.REMOVE_SEGMENT, EventKind.UNMAP)
# How closely the least memory is found.
_TOLERANCE_FRACTION = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """How a recording went.

    Attributes:
        peak_reserved_bytes: Most that was reserved.
        peak_allocated_bytes: Most that was in use.
        num_alloc_retries: Times that the cache was given back to serve a request.
        failed_bytes: The request that could not be served; ``None`` if all were.
    """

    peak_reserved_bytes: int
    peak_allocated_bytes: int
    num_alloc_retries: int
    failed_bytes: int | None

    @property
    def fits(self) -> bool:
        """Whether all requests were served."""
        return self.failed_bytes is None


def rerun(recording: Recording, settings: AllocatorSettings, limit_bytes: int | None) -> Rerun:
    """Send the requests of a recording to an allocator until one cannot be served.

    Args:
        recording: What was asked for.
        settings: Of the allocator.
        limit_bytes: Memory that there is for segments; ``None`` for no end of it.
    """
    running = _Running(recording, settings, limit_bytes)
    failed_bytes = None
    try:
        running.begin()
        for event in _without_retries(recording):
            running.follow(event)
    except OutOfMemory as error:
        failed_bytes = error.requested_bytes
    statistics = running.allocator.statistics
    return Rerun(
        peak_reserved_bytes=statistics.peak_reserved_bytes,
        peak_allocated_bytes=statistics.peak_allocated_bytes,
        num_alloc_retries=statistics.num_alloc_retries,
        failed_bytes=failed_bytes,
    )


def find_least_memory(recording: Recording, settings: AllocatorSettings) -> int:
    """The least memory for segments in which all requests are served, to half a percent.

    Args:
        recording: What was asked for.
        settings: Of the allocator.
    """
    freely = rerun(recording, settings, None)
    low, high = freely.peak_allocated_bytes, freely.peak_reserved_bytes
    while high - low > _TOLERANCE_FRACTION * high:
        middle = (low + high) // 2
        if rerun(recording, settings, middle).fits:
            high = middle
        else:
            low = middle
    return high


class _Running:
    """An allocator on its way through a recording."""

    def __init__(
        self, recording: Recording, settings: AllocatorSettings, limit_bytes: int | None
    ) -> None:
        self.allocator = CachingAllocator(Driver(limit_bytes), settings=settings)
        self._recording = recording
        self._live: dict[int, Block] = {}
        self._ending: dict[int, Block] = {}

    def begin(self) -> None:
        if self.allocator.settings == self._recording.settings:
            self._restore()
            return
        for segment in self._recording.segments:
            for address, _, requested_bytes in segment.blocks:
                self._live[address] = self.allocator.allocate(requested_bytes, segment.stream)

    def follow(self, event: Event) -> None:
        address = event.address
        if event.kind is EventKind.ALLOCATE:
            self._live[address] = self.allocator.allocate(event.size, event.stream)
        elif event.kind is EventKind.OUT_OF_MEMORY:
            self.allocator.free(self.allocator.allocate(event.size, event.stream))
        elif event.kind is EventKind.FREE_LATER and address in self._live:
            block = self._ending[address] = self._live.pop(address)
            self.allocator.free(block, is_used_elsewhere=True)
        elif event.kind is EventKind.FREE and address in self._ending:
            self.allocator.end_use(self._ending.pop(address))
        elif event.kind is EventKind.FREE and address in self._live:
            self.allocator.free(self._live.pop(address))
        elif event.kind in _REMOVES:
            self.allocator.release_cached()

    def _restore(self) -> None:
        allocator = self.allocator
        for segment in self._recording.segments:
            found = restore(allocator, segment)
            self._live |= {block.address: block for block in found}
        driver, reserved_bytes = allocator.driver, allocator.statistics.reserved_bytes
        driver.used_bytes = reserved_bytes
        if driver.capacity_bytes is not None and reserved_bytes > driver.capacity_bytes:
            allocator.release_cached()
            if driver.used_bytes > driver.capacity_bytes:
                raise OutOfMemory(reserved_bytes, allocator.statistics, None)


def _without_retries(recording: Recording) -> Iterator[Event]:
    """The events, without the releases by which the recorded allocator served a request at its end.

    Such a release comes right before the segment that it made room for, or before the failure, and
    only where that segment would have exceeded all that was ever reserved. Any other is a call of
    ``empty_cache``, and is made here too.
    """
    events = recording.events
    reserved_bytes = [sum(each.size for each in recording.segments)]
    for event in events:
        added = event.size if event.kind in _ADDS else 0
        removed = event.size if event.kind in _REMOVES else 0
        reserved_bytes.append(reserved_bytes[-1] + added - removed)
    peak_bytes = max(reserved_bytes)
    group: list[Event] = []
    for index, event in enumerate(events):
        if event.kind in _REMOVES:
            group.append(event)
            continue
        if group:
            before_bytes = reserved_bytes[index - len(group)]
            is_retry = before_bytes + _asked_of_driver(event) > peak_bytes
            if not is_retry:
                yield group[0]  # one call gives all of them back
            group = []
        yield event
    if group:
        yield group[0]


def _asked_of_driver(event: Event) -> int:
    """Bytes of the segment that an event adds, or could not."""
    if event.kind in _ADDS:
        return event.size
    return segment_bytes(event.size) if event.kind is EventKind.OUT_OF_MEMORY else 0

"""From how a recording ended to how it began: every event undone, the last one first.

A snapshot holds the state at its end alone. Of a block that was in use when recording began and was
freed since, it tells what was asked for, not its size: up to 1 MiB behind it may be its own.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace

from autobatch.errors import ResultFormatError
from autobatch.prediction.allocator import AllocatorSettings
from autobatch.prediction.allocator.replay import Event, EventKind, Segment
from autobatch.prediction.allocator.sizes import (
    SMALL_BYTES,
    SMALL_SEGMENT_BYTES,
    is_small,
    page_bytes,
)

_HINT = "record it again: this one was cut off, or changed"


def rewind(
    segments: Sequence[Segment], events: Sequence[Event], settings: AllocatorSettings
) -> list[Segment]:
    """The segments and their blocks in use when a recording began.

    Args:
        segments: Those at its end.
        events: All that was recorded.
        settings: Those of the allocator.

    Raises:
        ResultFormatError: If the events do not lead to these segments.
    """
    state = _State(segments)
    for event in reversed(events):
        state.undo(event)
    return state.conclude(events, settings)


class _State:
    """The allocator at a moment of a recording, on the way back."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        native = [each for each in segments if not each.is_expandable]
        self._native = {each.address: (each.size, each.stream) for each in native}
        # Parts with memory behind them: where each begins, and its end and stream.
        self._mapped = {
            each.address: (each.address + each.size, each.stream)
            for each in segments
            if each.is_expandable
        }
        # Sizes are known of those that are still there.
        self._live = {
            address: (size, requested_bytes)
            for each in segments
            for address, size, requested_bytes in each.blocks
        }
        # Addresses in expandable segments whose pool is known.
        self._pools = {each.address: each.is_small for each in segments if each.is_expandable}
        self._known: list[int] = []
        self._begins = sorted(self._mapped)

    def undo(self, event: Event) -> None:
        address, size = event.address, event.size
        if event.kind is EventKind.ALLOCATE:
            if self._live.pop(address, None) is None:
                raise _contradiction(f"the block at {address}, which was allocated, is not there")
            self._pools[address] = is_small(size)
        elif event.kind is EventKind.FREE:
            if address in self._live:
                raise _contradiction(f"the block at {address}, which was freed, is in use")
            self._live[address] = (0, size)
            self._pools[address] = is_small(size)
        elif event.kind is EventKind.ADD_SEGMENT:
            if self._native.pop(address, None) is None:
                raise _contradiction(f"the segment at {address}, which was added, is not there")
        elif event.kind is EventKind.REMOVE_SEGMENT:
            self._native[address] = (size, event.stream)
        elif event.kind is EventKind.MAP:
            self._unmap(address, address + size)
        elif event.kind is EventKind.UNMAP:
            self._map(address, address + size, event.stream)

    def conclude(self, events: Sequence[Event], settings: AllocatorSettings) -> list[Segment]:
        addresses, self._known = sorted(self._live), sorted(self._pools)
        found = []
        for begin, end, stream, is_expandable in self._ranges():
            first, last = (bisect.bisect_left(addresses, each) for each in (begin, end))
            found.append(
                Segment(
                    address=begin,
                    size=end - begin,
                    stream=stream,
                    is_small=self._is_small(begin, end, is_expandable),
                    is_expandable=is_expandable,
                    blocks=tuple(self._blocks(addresses[first:last], end, settings)),
                )
            )
        if sum(len(each.blocks) for each in found) != len(addresses):
            raise _contradiction("there are blocks outside them")
        unsized = {address for address, (size, _) in self._live.items() if not size}
        return [*_give_slack(found, unsized, events)]

    def _is_small(self, begin: int, end: int, is_expandable: bool) -> bool:
        if not is_expandable:
            return end - begin == SMALL_SEGMENT_BYTES
        index = bisect.bisect_left(self._known, begin)
        if index < len(self._known) and self._known[index] < end:
            return self._pools[self._known[index]]
        return (end - begin) % page_bytes(in_small_pool=False) != 0

    def _blocks(
        self, addresses: Sequence[int], end: int, settings: AllocatorSettings
    ) -> Iterator[tuple[int, int, int]]:
        for address, limit in itertools.pairwise([*addresses, end]):
            known_size, requested_bytes = self._live[address]
            size = known_size or settings.round_size(requested_bytes)
            if address + size > limit:
                raise _contradiction(f"the block at {address} does not fit")
            yield address, size, requested_bytes

    def _ranges(self) -> list[tuple[int, int, int, bool]]:
        """Begin, end, stream and whether it is expandable, of each stretch of memory."""
        found = [(at, at + size, stream, False) for at, (size, stream) in self._native.items()]
        joined: list[tuple[int, int, int, bool]] = []
        for begin in self._begins:
            end, stream = self._mapped[begin]
            if joined and joined[-1][1] == begin and joined[-1][2] == stream:
                joined[-1] = (joined[-1][0], end, stream, True)
            else:
                joined.append((begin, end, stream, True))
        ranges = sorted(found + joined)
        for one, other in itertools.pairwise(ranges):
            if other[0] < one[1]:
                raise _contradiction(f"the segments at {one[0]} and {other[0]} overlap")
        return ranges

    def _map(self, begin: int, end: int, stream: int) -> None:
        if begin in self._mapped:
            raise _contradiction(f"the memory at {begin}, which was unmapped, is there")
        self._mapped[begin] = (end, stream)
        bisect.insort(self._begins, begin)

    def _unmap(self, begin: int, end: int) -> None:
        """Take a stretch out of those with memory behind them, which may lie side by side."""
        first = bisect.bisect_right(self._begins, begin) - 1
        at = self._begins[first] if first >= 0 else -1
        limit, stream = self._mapped.get(at, (-1, 0))
        last = first + 1
        while limit < end and last < len(self._begins) and self._begins[last] == limit:
            limit, _ = self._mapped[limit]
            last += 1
        if limit < end:
            raise _contradiction(f"the memory at {begin}, which was mapped, is not there")
        for each in self._begins[max(first, 0) : last]:
            del self._mapped[each]
        del self._begins[max(first, 0) : last]
        if at < begin:
            self._map(at, begin, stream)
        if end < limit:
            self._map(end, limit, stream)


def _give_slack(
    segments: Sequence[Segment], unsized: Container[int], events: Sequence[Event]
) -> Iterator[Segment]:
    """Give blocks of unknown size what is theirs behind them.

    In a large segment a rest of up to 1 MiB is not split off. Where more lies behind a block, the
    first request that is served from there shows where the block ended.
    """
    ends: dict[int, int] = {}
    gaps = []
    for segment in segments:
        if segment.is_small or segment.is_expandable:
            continue
        begins = [address for address, _, _ in segment.blocks[1:]]
        begins.append(segment.address + segment.size)
        for (address, size, _), limit in zip(segment.blocks, begins, strict=False):
            if address in unsized and 0 < limit - address - size <= SMALL_BYTES:
                ends[address] = limit
            elif address in unsized and address + size < limit:
                gaps.append((address + size, limit, address))
    ends |= _first_served(sorted(gaps), events)
    for segment in segments:
        blocks = (
            (address, ends.get(address, address + size) - address, requested_bytes)
            for address, size, requested_bytes in segment.blocks
        )
        yield replace(segment, blocks=tuple(blocks))


def _first_served(gaps: Sequence[tuple[int, int, int]], events: Sequence[Event]) -> dict[int, int]:
    """Where the first request is served from each gap while the block before it is in use.

    Args:
        gaps: Begin and end of each, and the address of the block before it; in order.
        events: What happened.

    Returns:
        The address by that of the block, where it is at most 1 MiB into the gap.
    """
    begins = [begin for begin, _, _ in gaps]
    waiting = {address for _, _, address in gaps}
    found = {}
    for event in events:
        if event.kind is EventKind.FREE:
            waiting.discard(event.address)
        elif event.kind is EventKind.ALLOCATE:
            index = bisect.bisect_right(begins, event.address) - 1
            begin, end, address = gaps[index] if index >= 0 else (0, 0, 0)
            if event.address < end and address in waiting:
                waiting.discard(address)
                if event.address - begin <= SMALL_BYTES:
                    found[address] = event.address
    return found


def _contradiction(what: str) -> ResultFormatError:
    return ResultFormatError(f"its events do not lead to its segments: {what}", hint=_HINT)

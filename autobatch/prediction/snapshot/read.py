"""From the dicts of a snapshot to a recording that can be replayed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from autobatch.errors import ResultFormatError
from autobatch.prediction.allocator import AllocatorSettings, segment_bytes
from autobatch.prediction.allocator.replay import Event, EventKind, Segment
from autobatch.prediction.snapshot.pickles import HINT, load_plain
from autobatch.prediction.snapshot.rewind import rewind

_KINDS = {
    "alloc": EventKind.ALLOCATE,
    "free_requested": EventKind.FREE_LATER,
    "free_completed": EventKind.FREE,
    "segment_alloc": EventKind.ADD_SEGMENT,
    "segment_free": EventKind.REMOVE_SEGMENT,
    "segment_map": EventKind.MAP,
    "segment_unmap": EventKind.UNMAP,
    "oom": EventKind.OUT_OF_MEMORY,
}
_RECORD_HINT = "call torch.cuda.memory._record_memory_history() before the training"
_DEFAULT_POOL = (0, 0)
# No GPU has as much: what is above is no size.
_MAX_BYTES = 2**44


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What an allocator did, as a snapshot tells it.

    Attributes:
        device: Index of the GPU.
        settings: Those of the allocator.
        segments: Its state when the recording began.
        events: What followed.
        limit_bytes: Memory that there was for segments, if a request failed for lack of it: at
            most so much; else ``None``.
    """

    device: int
    settings: AllocatorSettings
    segments: tuple[Segment, ...]
    events: tuple[Event, ...]
    limit_bytes: int | None

    @property
    def num_requests(self) -> int:
        """Requests, those that failed included."""
        kinds = (EventKind.ALLOCATE, EventKind.OUT_OF_MEMORY)
        return sum(event.kind in kinds for event in self.events)


def read_snapshot(path: str) -> Recording:
    """Read a file that ``torch.cuda.memory._dump_snapshot`` wrote.

    Of several GPUs, the one with the most events is read.

    Raises:
        ResultFormatError: If it holds no snapshot, or one without a history.
    """
    document = load_plain(path)
    try:
        return _Reader(document).read()
    except ResultFormatError as error:
        raise ResultFormatError(f"cannot read {path}: {error}", hint=error.hint) from error


class _Reader:
    """The dicts of a snapshot, each checked before it is believed."""

    def __init__(self, document: Any) -> None:
        if not isinstance(document, dict) or "segments" not in document:
            _refuse("it does not hold a snapshot")
        self._document = document
        traces = _list(document.get("device_traces", []), "device_traces")
        lengths = [len(_list(each, "device_traces")) for each in traces]
        if not any(lengths):
            _refuse("its history was not recorded", hint=_RECORD_HINT)
        self._device = lengths.index(max(lengths))
        self._trace = traces[self._device]

    def read(self) -> Recording:
        segments = self._segments()
        settings = self._settings(any(each.is_expandable for each in segments))
        events = [*self._events()]
        initial = rewind(segments, events, settings)
        return Recording(
            device=self._device,
            settings=settings,
            segments=tuple(initial),
            events=tuple(_without_immediate_frees(events)),
            limit_bytes=self._limit(initial, events),
        )

    def _segments(self) -> list[Segment]:
        found: dict[int, Segment] = {}
        for each in _list(self._document["segments"], "segments"):
            if not isinstance(each, dict):
                _refuse("segments: expected dicts")
            if each.get("device", self._device) != self._device:
                continue
            if tuple(_list(each.get("segment_pool_id", _DEFAULT_POOL), "pool")) != _DEFAULT_POOL:
                _refuse(
                    "it has pools of CUDA graphs, which are not replayed",
                    hint="record the training without CUDA graphs",
                )
            address = _number(each, "address")
            if address in found:
                _refuse(f"segments: two begin at {address}")
            found[address] = Segment(
                address=address,
                size=_bytes(each, "total_size"),
                stream=_number(each, "stream"),
                is_small=each.get("segment_type") == "small",
                is_expandable=each.get("is_expandable") is True,
                blocks=tuple(_blocks(each, address)),
            )
        return [found[address] for address in sorted(found)]

    def _events(self) -> Iterator[Event]:
        for each in self._trace:
            action = each.get("action") if isinstance(each, dict) else None
            if not isinstance(action, str):
                _refuse("device_traces: expected dicts with an action")
            if action not in _KINDS:  # such as one that marks the snapshot itself
                continue
            kind = _KINDS[action]
            yield Event(
                kind=kind,
                address=0 if kind is EventKind.OUT_OF_MEMORY else _number(each, "addr"),
                size=_bytes(each, "size"),
                stream=_number(each, "stream"),
            )

    def _settings(self, is_expandable: bool) -> AllocatorSettings:
        given = self._document.get("allocator_settings")
        if not isinstance(given, dict):  # of PyTorch before 2.2
            return AllocatorSettings(expandable_segments=is_expandable)
        max_split = given.get("max_split_size", -1)
        fraction = given.get("garbage_collection_threshold", 0.0)
        divisions = given.get("roundup_power2_divisions", {})
        if (
            not isinstance(max_split, int)
            or not isinstance(fraction, (int, float))
            or not isinstance(divisions, dict)
            or not all(isinstance(each, int) for each in divisions.values())
        ):
            _refuse("allocator_settings: expected numbers")
        parts = tuple(divisions.get(str(2**power), 0) for power in range(16))
        return AllocatorSettings(
            expandable_segments=given.get("expandable_segments") is True,
            max_split_bytes=max_split if 0 < max_split < _MAX_BYTES else None,
            garbage_collection_fraction=float(fraction) if 0 < fraction < 1 else 0.0,
            roundup_divisions=parts if any(parts) else (),
        )

    def _limit(self, initial: list[Segment], events: list[Event]) -> int | None:
        """What there was at the least of the requests that failed."""
        free = [_number(each, "device_free") for each in self._trace if each["action"] == "oom"]
        reserved_bytes = sum(each.size for each in initial)
        limits: list[int] = []
        for event in events:
            if event.kind in (EventKind.ADD_SEGMENT, EventKind.MAP):
                reserved_bytes += event.size
            elif event.kind in (EventKind.REMOVE_SEGMENT, EventKind.UNMAP):
                reserved_bytes -= event.size
            elif event.kind is EventKind.OUT_OF_MEMORY:
                # Under a cap there is more free than may be had.
                free_bytes = min(free[len(limits)], segment_bytes(event.size) - 1)
                limits.append(reserved_bytes + free_bytes)
        return min(limits, default=None)


def _blocks(segment: dict[str, Any], address: int) -> Iterator[tuple[int, int, int]]:
    """Address, size and requested bytes of each block in use."""
    total_size = _bytes(segment, "total_size")
    end = address + total_size
    for each in _list(segment.get("blocks"), "blocks"):
        if not isinstance(each, dict):
            _refuse("blocks: expected dicts")
        size = _bytes(each, "size")
        if size == 0 or address + size > end:
            _refuse(f"blocks: those of the segment at {segment['address']} do not fit into it")
        if each.get("state") != "inactive":
            requested = "requested_size" if "requested_size" in each else "size"
            yield address, size, _bytes(each, requested)
        address += size


def _without_immediate_frees(events: list[Event]) -> Iterator[Event]:
    """Leave out that a free was asked for, where it was done at once."""
    for event, following in zip(events, [*events[1:], None], strict=True):
        is_done_at_once = (
            event.kind is EventKind.FREE_LATER
            and following is not None
            and following.kind is EventKind.FREE
            and following.address == event.address
        )
        if not is_done_at_once:
            yield event


def _number(values: dict[str, Any], name: str, *, most: int = 2**64) -> int:
    value = values.get(name)
    if type(value) is not int or not 0 <= value < most:
        # What is nested may be endless when written.
        shown = f"{value!r:.40}" if isinstance(value, (str, float)) else type(value).__name__
        _refuse(f"{name}: expected a number below {most}, got {shown}")
    return value


def _bytes(values: dict[str, Any], name: str) -> int:
    return _number(values, name, most=_MAX_BYTES)


def _list(value: Any, name: str) -> Any:
    if not isinstance(value, (list, tuple)):
        _refuse(f"{name}: expected a list")
    return value


def _refuse(reason: str, *, hint: str = HINT) -> NoReturn:
    raise ResultFormatError(reason, hint=hint)

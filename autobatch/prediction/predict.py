"""A trace through the model of the allocator: how much memory a card would need for it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from autobatch.prediction.allocator import Block, CachingAllocator, OutOfMemory
from autobatch.prediction.trace import CardFacts, Category, Storage, Trace

# Repetitions of a step after which nothing is expected to change.
_MOST_REPETITIONS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class LivePart:
    """Memory that is in use at the peak.

    Attributes:
        category: What it is for.
        module: The module that it belongs to or was made in.
        num_bytes: As requested.
    """

    category: Category
    module: str
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a training would take on a card.

    Attributes:
        batch_size: Samples of a pass.
        fits: Whether it ran to its end, and its last step over and over.
        peak_requested_bytes: Highest sum of requests, before rounding; where it did not fit, of
            what came before.
        peak_allocated_bytes: The same of blocks, as ``torch.cuda.max_memory_allocated`` tells it.
        peak_reserved_bytes: The same of segments, as ``torch.cuda.max_memory_reserved``.
        num_alloc_retries: Times that the allocator gave its cache back to go on: each costs time.
        peak_event: Index of the trace's event that reached the allocated peak.
        live: What was in use then, largest first.
        failed_at: The storage that no longer fitted.
    """

    batch_size: int
    fits: bool
    peak_requested_bytes: int
    peak_allocated_bytes: int
    peak_reserved_bytes: int
    num_alloc_retries: int
    peak_event: int
    live: tuple[LivePart, ...]
    failed_at: Storage | None = None

    def bytes_by_category(self) -> dict[Category, int]:
        """Bytes in use at the peak, by what they are for, largest first."""
        totals: Counter[Category] = Counter()
        for part in self.live:
            totals[part.category] += part.num_bytes
        return dict(totals.most_common())


def predict(trace: Trace, card: CardFacts, allocator: CachingAllocator | None = None) -> Prediction:
    """Replay a trace on a card.

    Args:
        trace: From ``tracing.Tracer``, for the card's compute capability.
        card: Its facts.
        allocator: A fresh model of the allocator, with the card's memory as its driver's capacity
            and the process's settings; one without end of memory if left out.

    Examples:
        >>> from autobatch.prediction.trace import PlainFacts
        >>> weight = Storage(
        ...     num_bytes=3 * 2**20, category=Category.PARAMETER, module="fc", operator="model"
        ... )
        >>> trace = Trace(
        ...     batch_size=1, compute_capability=(8, 0), storages=(weight,), events=(0,)
        ... )
        >>> predict(trace, PlainFacts(compute_capability=(8, 0), num_sms=108)).peak_reserved_bytes
        20971520
    """
    replay = TraceReplay(trace, card, allocator or CachingAllocator())
    failed_at = None
    try:
        replay.play()
        replay.settle()
    except OutOfMemory:
        failed_at = replay.asked_for
    statistics = replay.allocator.statistics
    return Prediction(
        batch_size=trace.batch_size,
        fits=failed_at is None,
        peak_requested_bytes=statistics.peak_requested_bytes,
        peak_allocated_bytes=statistics.peak_allocated_bytes,
        peak_reserved_bytes=statistics.peak_reserved_bytes,
        num_alloc_retries=statistics.num_alloc_retries,
        peak_event=replay.peak_event,
        live=_find_live(trace, replay.sizes, replay.peak_event),
        failed_at=failed_at,
    )


class TraceReplay:
    """A trace on its way through the model of the allocator.

    Args:
        trace: The trace.
        card: For the sizes that a card decides.
        allocator: Serves the requests.

    Attributes:
        allocator: The same.
        sizes: Bytes of each storage on the card.
        asked_for: The storage that was asked for last.
        peak_event: Index of the event that reached the allocated peak.
    """

    def __init__(self, trace: Trace, card: CardFacts, allocator: CachingAllocator) -> None:
        self.allocator = allocator
        self.sizes = [storage.bytes_on(card) for storage in trace.storages]
        self.asked_for: Storage | None = None
        self.peak_event = 0
        self._trace = trace
        self._peak_bytes = 0
        self._blocks: dict[int, Block] = {}
        self._heirs = trace.find_heirs()

    def play(self) -> None:
        """Send every request.

        Raises:
            OutOfMemory: If one cannot be served.
        """
        self._play(0)

    def settle(self) -> None:
        """Repeat the last step until it leaves the allocator with as much as it found.

        The first steps find free blocks that the start of the training left, and split others than
        later ones do.

        Raises:
            OutOfMemory: If a request cannot be served.
        """
        statistics, before = self.allocator.statistics, -1
        for _ in range(_MOST_REPETITIONS if self._heirs is not None else 0):
            if statistics.peak_reserved_bytes == before:
                break
            before = statistics.peak_reserved_bytes
            self.repeat()

    def repeat(self) -> None:
        """Send the requests of the last step again.

        Raises:
            OutOfMemory: If one cannot be served.
        """
        assert self._heirs is not None, "the last step is like the one before it"
        left = {
            old: self._blocks.pop(new) for old, new in self._heirs.items() if new in self._blocks
        }
        self._blocks.update(left)
        self._play(self._trace.last_step)

    def _play(self, begin: int) -> None:
        allocator, blocks = self.allocator, self._blocks
        for position, event in enumerate(self._trace.events[begin:], begin):
            if event < 0:
                if ~event in blocks:
                    allocator.free(blocks.pop(~event))
                continue
            if self.sizes[event]:
                self.asked_for = self._trace.storages[event]
                blocks[event] = allocator.allocate(self.sizes[event])
                if allocator.statistics.allocated_bytes > self._peak_bytes:
                    self.peak_event = position
                    self._peak_bytes = allocator.statistics.allocated_bytes


def trace_timeline(trace: Trace, card: CardFacts) -> list[tuple[int, dict[Category, int]]]:
    """Bytes in use after each event, by what they are for.

    Args:
        trace: The trace.
        card: For the sizes that a card decides.

    Returns:
        Index of the event, and the bytes of each category that has any.
    """
    totals: Counter[Category] = Counter()
    timeline = []
    for position, event in enumerate(trace.events):
        storage = trace.storages[event if event >= 0 else ~event]
        totals[storage.category] += storage.bytes_on(card) * (1 if event >= 0 else -1)
        timeline.append((position, dict(+totals)))
    return timeline


def _find_live(trace: Trace, sizes: list[int], peak_event: int) -> tuple[LivePart, ...]:
    live: set[int] = set()
    for event in trace.events[: peak_event + 1]:
        if event >= 0:
            live.add(event)
        else:
            live.discard(~event)
    totals: Counter[tuple[Category, str]] = Counter()
    for index in live:
        storage = trace.storages[index]
        totals[storage.category, storage.module] += sizes[index]
    return tuple(
        LivePart(category=category, module=module, num_bytes=num_bytes)
        for (category, module), num_bytes in totals.most_common()
        if num_bytes
    )

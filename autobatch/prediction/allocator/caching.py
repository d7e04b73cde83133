"""The allocator itself: from requests to blocks, and from segments to what is reserved."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.prediction.allocator.blocks import Block, Pool
from autobatch.prediction.allocator.driver import Driver
from autobatch.prediction.allocator.expandable import grow
from autobatch.prediction.allocator.releasing import release_all, release_old, release_oversize
from autobatch.prediction.allocator.settings import AllocatorSettings
from autobatch.prediction.allocator.sizes import is_small, segment_bytes
from autobatch.units import format_bytes


class OutOfMemory(MemoryError):  # noqa: N818 - as PyTorch's own OutOfMemoryError, in short
    """A request that neither the cache nor the driver can serve.

    Attributes:
        requested_bytes: What was asked for.
    """

    def __init__(self, requested_bytes: int, statistics: Statistics, cap_bytes: int | None) -> None:
        limit = "the driver's memory" if cap_bytes is None else f"the cap {format_bytes(cap_bytes)}"
        super().__init__(
            f"out of memory: tried to allocate {format_bytes(requested_bytes)}, "
            f"{format_bytes(statistics.allocated_bytes)} are allocated, "
            f"{format_bytes(statistics.reserved_bytes)} reserved, and {limit} does not hold more"
        )
        self.requested_bytes = requested_bytes


@dataclass(slots=True, kw_only=True)
class Statistics:
    """What ``torch.cuda.memory_stats`` counts.

    Attributes:
        allocated_bytes: Blocks in use.
        reserved_bytes: Segments.
        requested_bytes: What was asked for, before rounding.
        peak_allocated_bytes: The highest since ``CachingAllocator.reset_peaks``.
        peak_reserved_bytes: The same.
        peak_requested_bytes: The same.
        num_alloc_retries: Times that the cache was given back to serve a request.
        num_ooms: Requests that failed even then.
    """

    allocated_bytes: int = 0
    reserved_bytes: int = 0
    requested_bytes: int = 0
    peak_allocated_bytes: int = 0
    peak_reserved_bytes: int = 0
    peak_requested_bytes: int = 0
    num_alloc_retries: int = 0
    num_ooms: int = 0

    def count(self, *, allocated: int = 0, reserved: int = 0, requested: int = 0) -> None:
        """Add to what is in use.

        Args:
            allocated: Bytes; negative for what was freed.
            reserved: The same.
            requested: The same.
        """
        self.allocated_bytes += allocated
        self.reserved_bytes += reserved
        self.requested_bytes += requested
        self.peak_allocated_bytes = max(self.peak_allocated_bytes, self.allocated_bytes)
        self.peak_reserved_bytes = max(self.peak_reserved_bytes, self.reserved_bytes)
        self.peak_requested_bytes = max(self.peak_requested_bytes, self.requested_bytes)


class CachingAllocator:
    """Serves requests as PyTorch's caching allocator would.

    Args:
        driver: Gives segments; one with no end of memory if left out.
        cap_bytes: Most that may be reserved (``set_per_process_memory_fraction``); ``None`` for
            no cap. May be set at any time.
        settings: As of ``PYTORCH_ALLOC_CONF``.

    Attributes:
        statistics: What is in use.

    Examples:
        >>> allocator = CachingAllocator()
        >>> block = allocator.allocate(3 * 2**20)
        >>> allocator.statistics.reserved_bytes // 2**20
        20
        >>> allocator.free(block)
        >>> allocator.release_cached() // 2**20
        20
    """

    def __init__(
        self,
        driver: Driver | None = None,
        *,
        cap_bytes: int | None = None,
        settings: AllocatorSettings | None = None,
    ) -> None:
        self.driver = driver or Driver()
        self.cap_bytes = cap_bytes
        self.settings = settings or AllocatorSettings()
        self.statistics = Statistics()
        self.small = Pool(is_small=True)
        self.large = Pool(is_small=False)
        self._in_use_elsewhere: dict[int, Block] = {}

    def allocate(self, num_bytes: int, stream: int = 0) -> Block:
        """Serve a request.

        Args:
            num_bytes: What is asked for, above 0.
            stream: The stream that will use it.

        Raises:
            OutOfMemory: If the cap or the driver does not allow it even without the cache.
        """
        size = self.settings.round_size(num_bytes)
        pool = self.small if is_small(size) else self.large
        block = self._take_cached(pool, size, stream) or self._make_room(pool, size, stream)
        if block is None:
            self.statistics.num_ooms += 1
            raise OutOfMemory(num_bytes, self.statistics, self.cap_bytes)
        if pool.splits(block, size, self.settings):
            pool.add(block.split(size))
        block.is_allocated, block.requested_bytes = True, num_bytes
        self.statistics.count(allocated=block.size, requested=num_bytes)
        return block

    def free(self, block: Block, *, is_used_elsewhere: bool = False) -> None:
        """Keep a block, merged with free neighbours, for later requests.

        Args:
            block: What is not needed any more.
            is_used_elsewhere: Whether another stream still works with it (``record_stream``): it
                is kept from requests until ``end_use``, or until the whole cache is given back,
                which waits for all streams.
        """
        self.statistics.count(allocated=-block.size)
        self._in_use_elsewhere[block.address] = block
        if not is_used_elsewhere:
            self.end_use(block)

    def end_use(self, block: Block) -> None:
        """Let requests have a block that was freed while another stream used it."""
        if self._in_use_elsewhere.pop(block.address, None) is None:
            return  # the cache was given back meanwhile
        block.is_allocated = False
        self.statistics.count(requested=-block.requested_bytes)
        block.merge_neighbours()
        block.pool.add(block)

    def release_cached(self) -> int:
        """Give segments that are wholly free back to the driver (``empty_cache``).

        Returns:
            Bytes given back.
        """
        for block in [*self._in_use_elsewhere.values()]:
            self.end_use(block)
        num_bytes = release_all((self.large, self.small), self.driver)
        self.statistics.count(reserved=-num_bytes)
        return num_bytes

    def reset_peaks(self) -> None:
        """Begin a new measurement of the peaks (``reset_peak_memory_stats``)."""
        now = self.statistics
        now.peak_allocated_bytes = now.allocated_bytes
        now.peak_reserved_bytes = now.reserved_bytes
        now.peak_requested_bytes = now.requested_bytes

    def _take_cached(self, pool: Pool, size: int, stream: int) -> Block | None:
        pool.num_searches += self._garbage_bytes is not None
        block = pool.find(size, stream, self.settings)
        if block is not None:
            pool.remove(block)
        return block

    def _make_room(self, pool: Pool, size: int, stream: int) -> Block | None:
        """A new segment, for which as little of the cache is given back as it takes."""
        statistics, limit_bytes = self.statistics, self._garbage_bytes
        if limit_bytes is not None and statistics.reserved_bytes > limit_bytes:
            over_bytes = statistics.reserved_bytes - limit_bytes
            statistics.count(reserved=-release_old(self.large, over_bytes, self.driver))
        block = self._add_segment(pool, size, stream)
        if block is None:
            num_bytes, is_enough = release_oversize(pool, size, stream, self.settings, self.driver)
            statistics.count(reserved=-num_bytes)
            block = self._add_segment(pool, size, stream) if is_enough else None
        if block is None:
            self.release_cached()
            statistics.num_alloc_retries += 1
            block = self._add_segment(pool, size, stream)
        return block

    @property
    def _garbage_bytes(self) -> int | None:
        """What may be reserved before old segments are given back; ``None`` for no such limit."""
        fraction = self.settings.garbage_collection_fraction
        return None if self.cap_bytes is None or not fraction else int(fraction * self.cap_bytes)

    def _add_segment(self, pool: Pool, size: int, stream: int) -> Block | None:
        num_bytes = segment_bytes(size)
        # The cap is held against a whole segment even where only a part would be mapped.
        if (
            self.cap_bytes is not None
            and self.statistics.reserved_bytes + num_bytes > self.cap_bytes
        ):
            return None
        if self.settings.expandable_segments:
            block, added_bytes = grow(pool, size, stream, self.driver)
            self.statistics.count(reserved=added_bytes)
            return block
        address = self.driver.allocate(num_bytes)
        if address is None:
            return None
        self.statistics.count(reserved=num_bytes)
        return Block(
            address=address, size=num_bytes, pool=pool, stream=stream, segment_address=address
        )

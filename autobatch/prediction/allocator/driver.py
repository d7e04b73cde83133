"""What the allocator asks of the driver: segments, or address space with memory mapped into it."""

from __future__ import annotations

from collections import defaultdict
from heapq import heappop, heappush

from autobatch.prediction.allocator.sizes import round_up

# An expandable segment reserves somewhat more than the GPU's memory; any GPU's is below this.
_ADDRESS_SPACE_BYTES = 2**45
_END_ADDRESS = 2**60
# The driver for Linux hands out addresses in steps of so many bytes, from high to low.
_GRANULE_BYTES = 32 * 2**20


class Driver:
    """Hands out addresses that were never used before, in the order of the driver for Linux.

    That is the order in which recorded traces have their segments: each below the one before, but
    for what finds room behind one that does not fill its last 32 MiB. It matters because the
    allocator takes the lower of two free blocks that fit alike.

    Args:
        capacity_bytes: Memory that there is for segments; ``None`` for no end of it.

    Attributes:
        used_bytes: Memory that has been handed out.
    """

    def __init__(self, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self._lowest_address = _END_ADDRESS
        # Addresses of what is left behind segments, by its size; the lowest first.
        self._room: defaultdict[int, list[int]] = defaultdict(list)

    def allocate(self, num_bytes: int) -> int | None:
        """Give a segment (``cudaMalloc``): its address, ``None`` if there is not so much."""
        if not self._take(num_bytes):
            return None
        return self._place(num_bytes)

    def free(self, address: int, num_bytes: int) -> None:
        """Take a segment back (``cudaFree``).

        Args:
            address: Where it is.
            num_bytes: Its size.
        """
        self.used_bytes -= num_bytes

    def reserve(self) -> tuple[int, int]:
        """Set address space aside for an expandable segment: its address and size."""
        # The gap keeps two segments from being neighbours.
        return self._place(2 * _ADDRESS_SPACE_BYTES), _ADDRESS_SPACE_BYTES

    def map(self, address: int, num_bytes: int) -> bool:
        """Map memory (``cuMemMap``); whether there was so much.

        Args:
            address: Where to, in address space that was set aside.
            num_bytes: How much.
        """
        return self._take(num_bytes)

    def unmap(self, address: int, num_bytes: int) -> None:
        """Unmap memory (``cuMemUnmap``).

        Args:
            address: Where it was mapped.
            num_bytes: How much.
        """
        self.used_bytes -= num_bytes

    def _take(self, num_bytes: int) -> bool:
        if self.capacity_bytes is not None and self.used_bytes + num_bytes > self.capacity_bytes:
            return False
        self.used_bytes += num_bytes
        return True

    def _place(self, num_bytes: int) -> int:
        left = [(at[0], size) for size, at in self._room.items() if at and size >= num_bytes]
        if left:
            address, size = min(left)
            heappop(self._room[size])
        else:
            size = round_up(num_bytes, _GRANULE_BYTES)
            self._lowest_address -= size
            address = self._lowest_address
        if size > num_bytes:
            heappush(self._room[size - num_bytes], address + num_bytes)
        return address

"""What the allocator asks of the driver: segments, or address space with memory mapped into it."""

from __future__ import annotations

# An expandable segment reserves somewhat more than the GPU's memory; any GPU's is below this.
_ADDRESS_SPACE_BYTES = 2**45
_FIRST_ADDRESS = 2**50


class Driver:
    """Hands out addresses that were never used before.

    Args:
        capacity_bytes: Memory that there is for segments; ``None`` for no end of it.

    Attributes:
        used_bytes: Memory that has been handed out.
    """

    def __init__(self, capacity_bytes: int | None = None) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_bytes = 0
        self._next_address = _FIRST_ADDRESS

    def allocate(self, num_bytes: int) -> int | None:
        """Give a segment (``cudaMalloc``): its address, ``None`` if there is not so much."""
        if not self._take(num_bytes):
            return None
        return self._advance(num_bytes)

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
        return self._advance(2 * _ADDRESS_SPACE_BYTES), _ADDRESS_SPACE_BYTES

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

    def _advance(self, num_bytes: int) -> int:
        address, self._next_address = self._next_address, self._next_address + num_bytes
        return address

"""What a training holds on a GPU besides PyTorch's allocator."""

from __future__ import annotations

from dataclasses import dataclass

_MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """What a process holds on a GPU besides the allocator's segments: context, libraries, NCCL.

    Attributes:
        low_bytes: At the least.
        high_bytes: At the most.
        source: Where these are from.
    """

    low_bytes: int
    high_bytes: int
    source: str

    @property
    def likely_bytes(self) -> int:
        """In the middle."""
        return (self.low_bytes + self.high_bytes) // 2

    def find_room(self, memory_bytes: int, band_fraction: float) -> tuple[int, int, int]:
        """What is left for the allocator: in the worst case, what is likely, and in the best.

        Args:
            memory_bytes: Of the GPU.
            band_fraction: Memory that a trace does not see, at the most, over what it sees.
        """
        worst_bytes = int((memory_bytes - self.high_bytes) / (1 + band_fraction))
        return worst_bytes, memory_bytes - self.likely_bytes, memory_bytes - self.low_bytes


#: CUDA's context and the libraries' memory, by card, driver and libraries: 877 MiB on an L40S,
#: 1,219 on an H100, 1,382 on an H200, 1,741 on an A100, 2,000 on an RTX 3090.
USUAL_OUTSIDE = Outside(
    low_bytes=922 * _MIB, high_bytes=2048 * _MIB, source="as measured on five other machines"
)

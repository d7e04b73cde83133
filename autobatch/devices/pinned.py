"""Page-locked ("pinned") host memory, which ``pin_memory=True`` takes for copies to a GPU.

PyTorch's caching allocator for it rounds each block up to a power of two and keeps what was
given back, so what it owns is far more than the batches on their way. Whether the kernel counts
such pages as resident memory of the process differs between drivers: it is tried out once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autobatch.records import Unknown

_TRIED_BYTES = 4 * 2**20
_PEAK = "allocated_bytes.peak"


class PinnedMemory:
    """Pinned memory of this process.

    Args:
        cuda: ``torch.cuda``, or a stand-in with the same names.
        version: Version of PyTorch, for a reason.
        pin: Pins so many bytes and holds them until its result is dropped.
        resident_bytes: This process's resident memory.
    """

    def __init__(
        self,
        cuda: Any,
        version: str,
        *,
        pin: Callable[[int], object],
        resident_bytes: Callable[[], int],
    ) -> None:
        self._cuda, self._version = cuda, version
        before_bytes = resident_bytes()
        held = pin(_TRIED_BYTES)
        self._is_resident = resident_bytes() - before_bytes >= _TRIED_BYTES // 2
        del held

    def reset_peak(self) -> None:
        """Begin a new measurement, where this PyTorch can."""
        reset = getattr(self._cuda, "reset_peak_host_memory_stats", None)
        if reset is not None:
            reset()

    def peak_bytes(self) -> int | Unknown:
        """The most that the allocator has owned since the reset."""
        read = getattr(self._cuda, "host_memory_stats", None)
        if read is None:
            return Unknown(reason=f"PyTorch {self._version} does not count pinned memory")
        return int(read().get(_PEAK, 0))

    def unseen_bytes(self) -> int:
        """The part that is not in this process's resident memory already."""
        peak_bytes = self.peak_bytes()
        return 0 if self._is_resident or isinstance(peak_bytes, Unknown) else peak_bytes

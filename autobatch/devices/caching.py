"""What GPUs have in common whose memory PyTorch's caching allocator hands out."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from autobatch.devices.base import CpuUse, Mark, PeakReading
from autobatch.devices.sharing import SharedMemory
from autobatch.devices.sticky import undo_at_end
from autobatch.records import MemoryBound


class CachingGpu:
    """A GPU whose memory PyTorch's caching allocator hands out.

    The figure compared with the budget is what the allocator has reserved and what the driver
    holds besides it for this process.

    Args:
        api: ``torch.cuda``, ``torch.xpu``, or a stand-in with the same names.
        name: Name of the device: ``cuda:0``.
        index: Number of the GPU.
        memory: Its memory.
        memory_name: What bounds the memory, in a user's words.
    """

    can_fork = False
    # cuDNN takes workspace where there is some, and works without where there is none: up to a
    # quarter of a peak, with ``cudnn.benchmark``. That is half of what a doubled batch adds.
    peak_uncertainty_fraction = 0.5

    def __init__(
        self,
        api: Any,
        *,
        name: str,
        index: int,
        memory: SharedMemory,
        memory_name: str = "memory of the GPU",
    ) -> None:
        self._api = api
        self.name = name
        self._index = index
        self._memory = memory
        self._memory_name = memory_name

    def hardware_name(self) -> str:
        """The GPU's product name."""
        return str(self._api.get_device_name(self._index))

    def bounds(self, memory_limit_bytes: int | None) -> tuple[MemoryBound, ...]:
        """The GPU's memory less what others hold now, and the user's own limit."""
        available_bytes = self._memory.available_bytes()
        total_bytes = self._memory.total_bytes()
        bounds = [MemoryBound.of(self._memory_name, total_bytes, available_bytes)]
        if self._users_fraction() < 1:
            capped_bytes = round(self._users_fraction() * total_bytes)
            capped_bytes += self._memory.overhead_bytes()  # the fraction does not count that
            bounds.append(MemoryBound.of("per-process memory fraction", *[capped_bytes] * 2))
        if memory_limit_bytes is not None:
            bounds.append(MemoryBound.of_user(memory_limit_bytes))
        return tuple(bounds)

    def synchronize(self) -> None:
        """Wait for every stream of the GPU."""
        self._api.synchronize(self._index)

    def mark(self) -> Mark | None:
        """An event in the current stream, if there are events here."""
        make = getattr(self._api, "Event", None)
        if make is None:
            return None
        event: Any = make(enable_timing=True)
        event.record()
        made: Mark = event
        return made

    def release(self) -> None:
        """Give the caching allocator's unused blocks back to the driver."""
        gc.collect()
        self._api.empty_cache()

    def reset_peak(self) -> None:
        """Begin a new measurement in the caching allocator."""
        self._api.reset_peak_memory_stats(self._index)

    def read_peak(self) -> PeakReading:
        """Reserved memory at its highest, and what the driver holds besides."""
        reserved_bytes = self._api.max_memory_reserved(self._index)
        return PeakReading(
            peak_bytes=reserved_bytes + self._memory.overhead_bytes(),
            allocated_bytes=self._api.max_memory_allocated(self._index),
            reserved_bytes=reserved_bytes,
        )

    @contextmanager
    def enforce(self, budget_bytes: int) -> Iterator[bool]:
        """Cap what the caching allocator may reserve, where this PyTorch can."""
        if not hasattr(self._api, "set_per_process_memory_fraction"):
            yield False
            return
        users_fraction = self._users_fraction()
        reserved_bytes = max(1, budget_bytes - self._memory.overhead_bytes())
        fraction = min(users_fraction, reserved_bytes / self._memory.total_bytes())
        self._api.set_per_process_memory_fraction(fraction, self._index)
        with undo_at_end(
            lambda: self._api.set_per_process_memory_fraction(users_fraction, self._index)
        ):
            yield True

    def count_alloc_retries(self) -> int | None:
        """The allocator's own count, where this PyTorch tells it."""
        if not hasattr(self._api, "memory_stats"):
            return None
        count = self._api.memory_stats(self._index).get("num_alloc_retries")
        return None if count is None else int(count)

    def cpu_use(self) -> CpuUse | None:
        """The host's page faults do not bound a GPU's work."""
        return None

    def _users_fraction(self) -> float:
        """What the user's code lets this process have, of all; PyTorch tells it from 2.9 on."""
        read = getattr(self._api, "get_per_process_memory_fraction", None)
        return 1.0 if read is None else float(read(self._index))

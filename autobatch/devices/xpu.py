"""Intel GPUs, through ``torch.xpu``."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from autobatch.devices.base import CpuUse, PeakReading
from autobatch.devices.sharing import SharedMemory
from autobatch.devices.sticky import undo_at_end
from autobatch.errors import DeviceUnavailableError
from autobatch.records import MemoryBound, Precision


class XpuDevice:
    """Training on one Intel GPU.

    The figure compared with the budget is what the caching allocator has reserved and what is
    used besides it since this process opened the GPU. What others used before counts as theirs;
    what they take during a trial cannot be told from ours.

    Args:
        index: Number of the GPU.
        xpu: ``torch.xpu``, or a stand-in with the same names.

    Raises:
        DeviceUnavailableError: If there is no such GPU.
    """

    can_fork = False
    peak_uncertainty_fraction = 0.1

    def __init__(self, index: int = 0, xpu: Any = None) -> None:
        self._xpu = torch.xpu if xpu is None else xpu
        self._index = index
        self.name = f"xpu:{index}"
        self._require()
        self._xpu.set_device(index)
        self._memory = SharedMemory(
            info=self._info,
            reserved=lambda: self._xpu.memory_reserved(index),
        )

    def hardware_name(self) -> str:
        """The GPU's product name."""
        return str(self._xpu.get_device_name(self._index))

    def driver_version(self) -> str | None:
        """The driver's version, where this PyTorch tells it."""
        properties = self._xpu.get_device_properties(self._index)
        version = getattr(properties, "driver_version", None)
        return None if version is None else str(version)

    def unsupported_reason(self, precision: Precision) -> str | None:
        """TF32 is switched on through switches of NVIDIA GPUs; bf16 came with Xe."""
        if precision is Precision.TF32:
            return "autobatch can switch tf32 on for NVIDIA GPUs only"
        if precision is Precision.BF16 and not self._xpu.is_bf16_supported():
            return f"{self.hardware_name()} has no bf16"
        return None

    def bounds(self, memory_limit_bytes: int | None) -> tuple[MemoryBound, ...]:
        """The GPU's memory less what others hold, and the user's own limit."""
        available_bytes = self._memory.available_bytes()
        total_bytes = self._memory.total_bytes()
        bounds = [MemoryBound.of("memory of the GPU", total_bytes, available_bytes)]
        if memory_limit_bytes is not None:
            bounds.append(MemoryBound.of_user(memory_limit_bytes))
        return tuple(bounds)

    def synchronize(self) -> None:
        """Wait for every stream of the GPU."""
        self._xpu.synchronize(self._index)

    def release(self) -> None:
        """Give the caching allocator's unused blocks back to the driver."""
        gc.collect()
        self._xpu.empty_cache()

    def reset_peak(self) -> None:
        """Begin a new measurement in the caching allocator."""
        self._xpu.reset_peak_memory_stats(self._index)

    def read_peak(self) -> PeakReading:
        """Reserved memory at its highest, and what is used besides."""
        reserved_bytes = self._xpu.max_memory_reserved(self._index)
        return PeakReading(
            peak_bytes=reserved_bytes + self._memory.overhead_bytes(),
            allocated_bytes=self._xpu.max_memory_allocated(self._index),
            reserved_bytes=reserved_bytes,
        )

    @contextmanager
    def enforce(self, budget_bytes: int) -> Iterator[bool]:
        """Cap what the caching allocator may reserve, where this PyTorch can."""
        if not hasattr(self._xpu, "set_per_process_memory_fraction"):
            yield False
            return
        reserved_bytes = max(1, budget_bytes - self._memory.overhead_bytes())
        fraction = min(1.0, reserved_bytes / self._memory.total_bytes())
        self._xpu.set_per_process_memory_fraction(fraction, self._index)
        with undo_at_end(lambda: self._xpu.set_per_process_memory_fraction(1.0, self._index)):
            yield True

    def cpu_use(self) -> CpuUse | None:
        """The host's page faults do not bound a GPU's work."""
        return None

    def _info(self) -> tuple[int, int]:
        try:
            free_bytes, total_bytes = self._xpu.mem_get_info(self._index)
        except RuntimeError:
            # Drivers of some integrated GPUs do not count what is free; nor can we, but for ours.
            total_bytes = self._xpu.get_device_properties(self._index).total_memory
            free_bytes = total_bytes - self._xpu.memory_reserved(self._index)
        return free_bytes, total_bytes

    def _require(self) -> None:
        count = self._xpu.device_count() if self._xpu.is_available() else 0
        if self._index < count:
            return
        found = f"there are {count}" if count else f"PyTorch {torch.__version__} sees no Intel GPU"
        raise DeviceUnavailableError(
            f"device '{self.name}' is not available: {found}",
            hint="use `device=xpu:0`"
            if count
            else "use `device=cpu`, or install a PyTorch build for Intel GPUs",
        )

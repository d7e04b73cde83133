"""GPUs of Apple silicon, through ``torch.mps``."""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch

from autobatch.devices.base import CpuUse, Mark, PeakReading
from autobatch.errors import DeviceUnavailableError
from autobatch.records import MemoryBound, Precision

# What PyTorch starts with; the environment variable is its own.
_USUAL_FRACTION = 1.7
_LARGEST_FRACTION = 2.0


class MpsDevice:
    """Training on the GPU of Apple silicon, which shares the machine's memory.

    Metal keeps no high-water mark. What can be read is the memory that its driver has given this
    process, the allocator's cache included. The cache grows through a step and is given back by
    ``release`` or when the allocator nears its cap, so its size at the end of a step is that
    step's peak in the usual case and a lower bound of it always. It is read at every
    ``synchronize``, and ``PeakReading.is_lower_bound`` says so. What decides whether a size fits
    is the cap of ``enforce``, which the allocator itself keeps.

    Args:
        mps: ``torch.mps``, or a stand-in with the same names.
        backend: ``torch.backends.mps``, or a stand-in with the same names.

    Raises:
        DeviceUnavailableError: If there is no such GPU.
    """

    name = "mps"
    can_fork = False
    # A lower bound may lie lower at one size than at the next.
    peak_uncertainty_fraction = 0.3

    def __init__(self, mps: Any = None, backend: Any = None) -> None:
        self._backend = torch.backends.mps if backend is None else backend
        if not self._backend.is_available():
            raise DeviceUnavailableError(
                f"device 'mps' is not available: PyTorch {torch.__version__} sees no Metal GPU",
                hint="use `device=cpu`; mps needs Apple silicon and macOS 14 or later",
            )
        self._mps = torch.mps if mps is None else mps
        self._highest_bytes = 0

    def hardware_name(self) -> str:
        """The GPU's name where this PyTorch tells it, else the CPU's kind."""
        name = getattr(self._backend, "get_name", None)
        return str(name()) if name is not None else platform.processor()

    def driver_version(self) -> str | None:
        """Metal comes with the system, whose version it has."""
        version = platform.mac_ver()[0]
        return f"macOS {version}" if version else None

    def unsupported_reason(self, precision: Precision) -> str | None:
        """TF32 is a format of NVIDIA's tensor cores."""
        if precision is Precision.TF32:
            return "tf32 is a format of NVIDIA GPUs"
        return None

    def bounds(self, memory_limit_bytes: int | None) -> tuple[MemoryBound, ...]:
        """What Metal recommends to stay below, physical memory, and the user's own limit."""
        own_bytes = self._mps.driver_allocated_memory()
        recommended_bytes = self._mps.recommended_max_memory()
        machine = psutil.virtual_memory()
        bounds = [
            MemoryBound.of("working set that Metal recommends", *[recommended_bytes] * 2),
            MemoryBound.of("physical memory", machine.total, machine.available + own_bytes),
        ]
        if memory_limit_bytes is not None:
            bounds.append(MemoryBound.of_user(memory_limit_bytes))
        return tuple(bounds)

    def synchronize(self) -> None:
        """Wait for all work, and note how much memory the driver has given by then."""
        self._mps.synchronize()
        self._look()

    def mark(self) -> Mark | None:
        """None: memory is seen at the end of a step alone, so each step is waited for."""
        return None

    def release(self) -> None:
        """Give the allocator's unused blocks back."""
        gc.collect()
        self._mps.empty_cache()

    def reset_peak(self) -> None:
        """Forget the highest use that was seen."""
        self._highest_bytes = 0
        self._look()

    def read_peak(self) -> PeakReading:
        """The highest use seen at the end of a step: a lower bound of the peak."""
        self._look()
        return PeakReading(peak_bytes=self._highest_bytes, is_lower_bound=True)

    @contextmanager
    def enforce(self, budget_bytes: int) -> Iterator[bool]:
        """Cap what the allocator may take from the driver."""
        share = budget_bytes / self._mps.recommended_max_memory()
        # 0 would mean no cap at all.
        fraction = min(_LARGEST_FRACTION, max(1e-6, share))
        self._mps.set_per_process_memory_fraction(fraction)
        try:
            yield True
        finally:
            # There is no reading what it was.
            usual = os.environ.get("PYTORCH_MPS_HIGH_WATERMARK_RATIO", _USUAL_FRACTION)
            self._mps.set_per_process_memory_fraction(float(usual))

    def count_alloc_retries(self) -> int | None:
        """Metal's allocator keeps no count."""
        return None

    def cpu_use(self) -> CpuUse | None:
        """The host's page faults do not bound a GPU's work."""
        return None

    def _look(self) -> None:
        self._highest_bytes = max(self._highest_bytes, self._mps.driver_allocated_memory())

"""NVIDIA GPUs, and AMD GPUs under ROCm, through ``torch.cuda``."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from autobatch.devices.base import CpuUse, PeakReading
from autobatch.devices.nvml import NvmlGpu, find_gpu, open_nvml
from autobatch.devices.nvml.processes import find_own_pid, read_process_bytes
from autobatch.devices.nvml.readings import read_memory
from autobatch.devices.sharing import SharedMemory
from autobatch.devices.sticky import undo_at_end
from autobatch.errors import DeviceUnavailableError
from autobatch.records import MemoryBound, Precision, Unknown


class CudaDevice:
    """Training on one GPU.

    The figure compared with the budget is what the caching allocator has reserved and what the
    driver holds besides it for this process (context, kernels, library workspaces).

    ``expandable_segments`` needs no care: memory that such a segment has mapped counts as
    reserved, address space that it only set aside does not, and the allocator looks at the cap
    of ``enforce`` before it maps any.

    Raises:
        DeviceUnavailableError: If there is no such GPU.
    """

    can_fork = False
    peak_uncertainty_fraction = 0.1

    def __init__(self, index: int = 0) -> None:
        _require_gpu(index)
        self.name = f"cuda:{index}"
        self._index = index
        torch.cuda.set_device(index)
        # Read before this process has a context, which takes memory itself.
        self._gpu = find_nvml_gpu(index)
        before = None if isinstance(self._gpu, Unknown) else read_memory(self._gpu)
        processes_before = self._process_bytes()
        torch.zeros(1, device=self.name)
        self._own_pid = find_own_pid(processes_before, self._process_bytes())
        self._memory = SharedMemory(
            info=lambda: torch.cuda.mem_get_info(index),
            reserved=lambda: torch.cuda.memory_reserved(index),
            own=self._own_bytes,
            free_before_bytes=None if isinstance(before, Unknown | None) else before.free_bytes,
        )

    def hardware_name(self) -> str:
        """The GPU's product name."""
        return str(torch.cuda.get_device_name(self._index))

    def driver_version(self) -> str | None:
        """The driver's version, where NVML tells it; ROCm's own version on AMD GPUs."""
        version = read_driver_version()
        return None if isinstance(version, Unknown) else version

    def unsupported_reason(self, precision: Precision) -> str | None:
        """Formats that came with later generations."""
        if precision is Precision.TF32 and torch.version.hip is not None:
            return "tf32 is a format of NVIDIA GPUs"
        major, _ = torch.cuda.get_device_capability(self._index)
        if precision is Precision.TF32 and major < 8:
            return f"{self.hardware_name()} has no tf32 (it came with compute capability 8.0)"
        if precision is Precision.BF16 and not torch.cuda.is_bf16_supported():
            return f"{self.hardware_name()} has no bf16"
        return None

    def bounds(self, memory_limit_bytes: int | None) -> tuple[MemoryBound, ...]:
        """The GPU's memory less what others hold now, and the user's own limit."""
        available_bytes = self._memory.available_bytes()
        total_bytes = self._memory.total_bytes()
        bounds = [MemoryBound.of(name_memory(self._gpu), total_bytes, available_bytes)]
        if memory_limit_bytes is not None:
            bounds.append(MemoryBound.of_user(memory_limit_bytes))
        return tuple(bounds)

    def synchronize(self) -> None:
        """Wait for every stream of the GPU."""
        torch.cuda.synchronize(self._index)

    def release(self) -> None:
        """Give the caching allocator's unused blocks back to the driver."""
        gc.collect()
        torch.cuda.empty_cache()

    def reset_peak(self) -> None:
        """Begin a new measurement in the caching allocator."""
        torch.cuda.reset_peak_memory_stats(self._index)

    def read_peak(self) -> PeakReading:
        """Reserved memory at its highest, and what the driver holds besides."""
        reserved_bytes = torch.cuda.max_memory_reserved(self._index)
        return PeakReading(
            peak_bytes=reserved_bytes + self._memory.overhead_bytes(),
            allocated_bytes=torch.cuda.max_memory_allocated(self._index),
            reserved_bytes=reserved_bytes,
        )

    @contextmanager
    def enforce(self, budget_bytes: int) -> Iterator[bool]:
        """Cap what the caching allocator may reserve."""
        reserved_bytes = max(1, budget_bytes - self._memory.overhead_bytes())
        fraction = min(1.0, reserved_bytes / self._memory.total_bytes())
        torch.cuda.set_per_process_memory_fraction(fraction, self._index)
        with undo_at_end(lambda: torch.cuda.set_per_process_memory_fraction(1.0, self._index)):
            yield True

    def cpu_use(self) -> CpuUse | None:
        """The host's page faults do not bound a GPU's work."""
        return None

    def _process_bytes(self) -> dict[int, int | Unknown] | Unknown:
        return self._gpu if isinstance(self._gpu, Unknown) else read_process_bytes(self._gpu)

    def _own_bytes(self) -> int | None:
        processes = self._process_bytes()
        if self._own_pid is None or isinstance(processes, Unknown):
            return None
        own = processes.get(self._own_pid)
        return None if isinstance(own, Unknown) else own


def find_nvml_gpu(index: int) -> NvmlGpu | Unknown:
    """The GPU ``cuda:INDEX`` in NVML, or why it cannot be asked there."""
    if torch.version.hip is not None:
        return Unknown(reason="NVML is NVIDIA's, and this PyTorch is for AMD GPUs (ROCm)")
    nvml = open_nvml()
    if isinstance(nvml, Unknown):
        return Unknown(reason=f"no NVML: {nvml.reason}")
    properties = torch.cuda.get_device_properties(index)
    return find_gpu(nvml, index=index, properties=properties, environ=os.environ)


def name_memory(gpu: NvmlGpu | Unknown) -> str:
    """What bounds the memory, in a user's words."""
    is_slice = isinstance(gpu, NvmlGpu) and gpu.is_mig_slice
    return "memory of the MIG slice" if is_slice else "memory of the GPU"


def read_driver_version() -> str | Unknown:
    """Version of NVIDIA's driver, or of ROCm, which PyTorch tells in its place."""
    if torch.version.hip is not None:
        return f"ROCm {torch.version.hip}"
    nvml = open_nvml()
    if isinstance(nvml, Unknown):
        return Unknown(reason=f"no NVML: {nvml.reason}")
    return nvml.driver_version()


def _require_gpu(index: int) -> None:
    if not torch.cuda.is_available():
        raise DeviceUnavailableError(
            f"device 'cuda:{index}' is not available: PyTorch {torch.__version__} sees no GPU",
            hint="use `device=cpu`, or install a PyTorch build for your GPU",
        )
    if index >= torch.cuda.device_count():
        raise DeviceUnavailableError(
            f"device 'cuda:{index}' is not available: there are {torch.cuda.device_count()}",
            hint="use `device=cuda:0`",
        )

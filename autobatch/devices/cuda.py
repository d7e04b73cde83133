"""NVIDIA GPUs, and AMD GPUs under ROCm, through ``torch.cuda``."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import torch

from autobatch.devices.base import PeakReading
from autobatch.devices.caching import CachingGpu
from autobatch.devices.nvml import NvmlGpu, find_gpu, open_nvml
from autobatch.devices.nvml.processes import find_own_pid, read_process_bytes
from autobatch.devices.nvml.readings import read_memory
from autobatch.devices.sharing import SharedMemory
from autobatch.errors import DeviceUnavailableError
from autobatch.records import Precision, Unknown


class CudaDevice(CachingGpu):
    """Training on one GPU.

    What the driver holds for this process is context, kernels and library workspaces.

    ``expandable_segments`` needs no care: memory that such a segment has mapped counts as
    reserved, address space that it only set aside does not, and the allocator looks at the cap
    of ``enforce`` before it maps any.

    With ``backend:cudaMallocAsync`` the cap counts what tensors use, while CUDA's pool keeps what
    was freed: there the peak is that of the tensors too.

    Args:
        index: Number of the GPU.
        cuda: ``torch.cuda``, or a stand-in with the same names.
        gpu: The GPU in NVML; looked up if left out.

    Raises:
        DeviceUnavailableError: If there is no such GPU.
    """

    def __init__(
        self, index: int = 0, cuda: Any = None, gpu: NvmlGpu | Unknown | None = None
    ) -> None:
        self._cuda = cuda = torch.cuda if cuda is None else cuda
        _require_gpu(cuda, index)
        # Read before this process has a context, which takes memory itself: the driver makes one
        # when a device other than the first is set, or when it is first used.
        self._gpu = find_nvml_gpu(index) if gpu is None else gpu
        before = None if isinstance(self._gpu, Unknown) else read_memory(self._gpu)
        processes_before = self._process_bytes()
        cuda.set_device(index)
        cuda.synchronize(index)
        self._own_pid = find_own_pid(processes_before, self._process_bytes())
        memory = SharedMemory(
            info=lambda: cuda.mem_get_info(index),
            reserved=lambda: cuda.memory_reserved(index),
            own=self._own_bytes,
            free_before_bytes=None if isinstance(before, Unknown | None) else before.free_bytes,
        )
        super().__init__(
            cuda,
            name=f"cuda:{index}",
            index=index,
            memory=memory,
            memory_name=name_memory(self._gpu),
        )

    def driver_version(self) -> str | None:
        """The driver's version, where NVML tells it; ROCm's own version on AMD GPUs."""
        version = read_driver_version()
        return None if isinstance(version, Unknown) else version

    def unsupported_reason(self, precision: Precision) -> str | None:
        """Formats that came with later generations."""
        if precision is Precision.TF32 and torch.version.hip is not None:
            return "tf32 is a format of NVIDIA GPUs"
        major, _ = self._cuda.get_device_capability(self._index)
        if precision is Precision.TF32 and major < 8:
            return f"{self.hardware_name()} has no tf32 (it came with compute capability 8.0)"
        if precision is Precision.BF16 and not self._cuda.is_bf16_supported(
            including_emulation=False
        ):
            return f"{self.hardware_name()} has no bf16 (it came with compute capability 8.0)"
        return None

    def read_peak(self) -> PeakReading:
        """As of any caching allocator, unless CUDA's own pool is in its place."""
        reading = super().read_peak()
        if self._cuda.get_allocator_backend() != "cudaMallocAsync":
            return reading
        used_bytes = reading.allocated_bytes or 0
        return replace(reading, peak_bytes=used_bytes + self._memory.overhead_bytes())

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


def _require_gpu(cuda: Any, index: int) -> None:
    if not cuda.is_available():
        raise DeviceUnavailableError(
            f"device 'cuda:{index}' is not available: PyTorch {torch.__version__} sees no GPU",
            hint="use `device=cpu`, or install a PyTorch build for your GPU",
        )
    if index >= cuda.device_count():
        raise DeviceUnavailableError(
            f"device 'cuda:{index}' is not available: there are {cuda.device_count()}",
            hint="use `device=cuda:0`",
        )

"""Intel GPUs, through ``torch.xpu``."""

from __future__ import annotations

from typing import Any

import torch

from autobatch.devices.caching import CachingGpu
from autobatch.devices.sharing import SharedMemory
from autobatch.errors import DeviceUnavailableError
from autobatch.records import Precision


class XpuDevice(CachingGpu):
    """Training on one Intel GPU.

    What others used before this process opened the GPU counts as theirs; what they take during a
    trial cannot be told from ours.

    Args:
        index: Number of the GPU.
        xpu: ``torch.xpu``, or a stand-in with the same names.

    Raises:
        DeviceUnavailableError: If there is no such GPU.
    """

    def __init__(self, index: int = 0, xpu: Any = None) -> None:
        self._xpu = torch.xpu if xpu is None else xpu
        self._require(index)
        self._xpu.set_device(index)
        memory = SharedMemory(
            info=lambda: self._info(index), reserved=lambda: self._xpu.memory_reserved(index)
        )
        super().__init__(self._xpu, name=f"xpu:{index}", index=index, memory=memory)

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

    def _info(self, index: int) -> tuple[int, int]:
        try:
            free_bytes, total_bytes = self._xpu.mem_get_info(index)
        except RuntimeError:
            # Drivers of some integrated GPUs do not count what is free; nor can we, but for ours.
            total_bytes = self._xpu.get_device_properties(index).total_memory
            free_bytes = total_bytes - self._xpu.memory_reserved(index)
        return free_bytes, total_bytes

    def _require(self, index: int) -> None:
        count = self._xpu.device_count() if self._xpu.is_available() else 0
        if index < count:
            return
        found = f"there are {count}" if count else f"PyTorch {torch.__version__} sees no Intel GPU"
        raise DeviceUnavailableError(
            f"device 'xpu:{index}' is not available: {found}",
            hint="use `device=xpu:0`"
            if count
            else "use `device=cpu`, or install a PyTorch build for Intel GPUs",
        )

"""What a GPU says of itself, as records."""

from __future__ import annotations

from typing import Any, NamedTuple

from autobatch.devices.nvml.processes import read_other_processes
from autobatch.devices.nvml.session import NvmlGpu
from autobatch.records import EccReport, GpuReport, Unknown

IDLE = "idle"
# Bits of nvmlDeviceGetCurrentClocksEventReasons, as nvml.h names and numbers them.
_CLOCK_LIMITS = {
    0x001: IDLE,
    0x002: "clocks set by the user",
    0x004: "power limit",
    0x008: "hardware slowdown",
    0x010: "in step with other GPUs",
    0x020: "too hot (driver)",
    0x040: "too hot (hardware)",
    0x080: "power supply brake",
    0x100: "display clock",
    0x200: "board limit",
    0x400: "reliability limit",
}


class NvmlMemory(NamedTuple):
    """Memory of a GPU or slice, in bytes; the driver's own part is in neither figure."""

    capacity_bytes: int
    free_bytes: int


def read_memory(gpu: NvmlGpu) -> NvmlMemory | Unknown:
    """Memory there is and memory nobody uses."""
    version = gpu.nvml.constant("nvmlMemory_v2")
    info = gpu.ask("nvmlDeviceGetMemoryInfo", version)
    if isinstance(info, Unknown):
        info = gpu.ask("nvmlDeviceGetMemoryInfo")
    if isinstance(info, Unknown):
        return info
    # The first version counts the driver's part, a few hundred MiB, as used.
    return NvmlMemory(int(info.total) - int(getattr(info, "reserved", 0)), int(info.free))


def read_gpu(gpu: NvmlGpu) -> GpuReport:
    """What can hold training up, beside the memory.

    A slice has no clocks, error counts and link of its own: there the whole GPU's are given.
    """
    whole = gpu.whole_gpu()
    capability = gpu.ask("nvmlDeviceGetCudaComputeCapability")
    return GpuReport(
        is_mig_slice=gpu.is_mig_slice,
        compute_capability=_or_unknown(capability, lambda pair: f"{pair[0]}.{pair[1]}"),
        processes=read_other_processes(gpu),
        clocks_limited_by=read_clock_limits(whole),
        ecc=_read_ecc(whole),
        pcie_width=whole.ask("nvmlDeviceGetCurrPcieLinkWidth"),
    )


def read_clock_limits(gpu: NvmlGpu) -> tuple[str, ...] | Unknown:
    """What holds the clocks down at this moment, in words; for a slice, those of the whole GPU."""
    bits = gpu.whole_gpu().ask_first(
        (
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
        )
    )
    return bits if isinstance(bits, Unknown) else decode_clock_limits(int(bits))


def decode_clock_limits(bits: int) -> tuple[str, ...]:
    """Words for a bit mask of NVML; a bit that is not known is named by its number."""
    known = tuple(word for bit, word in _CLOCK_LIMITS.items() if bits & bit)
    rest = bits & ~sum(_CLOCK_LIMITS)
    return (*known, f"reason {rest:#x}") if rest else known


def _read_ecc(gpu: NvmlGpu) -> EccReport:
    modes = gpu.ask("nvmlDeviceGetEccMode")
    corrected = gpu.nvml.constant("NVML_MEMORY_ERROR_TYPE_CORRECTED")
    uncorrected = gpu.nvml.constant("NVML_MEMORY_ERROR_TYPE_UNCORRECTED")
    since_loaded = gpu.nvml.constant("NVML_VOLATILE_ECC")
    return EccReport(
        is_enabled=_or_unknown(modes, lambda pair: bool(pair[0])),
        num_corrected=gpu.ask("nvmlDeviceGetTotalEccErrors", corrected, since_loaded),
        num_uncorrected=gpu.ask("nvmlDeviceGetTotalEccErrors", uncorrected, since_loaded),
    )


def _or_unknown(answer: Any, convert: Any) -> Any:
    return answer if isinstance(answer, Unknown) else convert(answer)

"""Report on a GPU, by the interface that can tell.

Memory is read without opening the GPU where NVML tells it: opening one takes a few hundred MiB
of it and a second.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psutil
import torch

from autobatch.devices.cuda import find_nvml_gpu, name_memory, read_driver_version
from autobatch.devices.mps import MpsDevice
from autobatch.devices.nvml.readings import read_gpu, read_memory
from autobatch.devices.precisions import (
    amd_precisions,
    apple_precisions,
    intel_precisions,
    nvidia_precisions,
)
from autobatch.records import (
    DeviceReport,
    GpuReport,
    MemoryBound,
    MemoryBudget,
    PrecisionSupport,
    Unknown,
)


def report_cuda(index: int, headroom_fraction: float) -> DeviceReport:
    """Report an NVIDIA GPU, or an AMD GPU under ROCm.

    Args:
        index: Number of the GPU.
        headroom_fraction: Fraction of the memory that a budget keeps free.
    """
    properties = torch.cuda.get_device_properties(index)
    gpu = find_nvml_gpu(index)
    told = GpuReport.not_told(gpu.reason) if isinstance(gpu, Unknown) else read_gpu(gpu)
    memory = gpu if isinstance(gpu, Unknown) else read_memory(gpu)
    if isinstance(memory, Unknown):
        free_bytes, capacity_bytes = torch.cuda.mem_get_info(index)
    else:
        capacity_bytes, free_bytes = memory
    precisions, capability = _cuda_formats(properties)
    return _report(
        name=f"cuda:{index}",
        hardware_name=str(properties.name),
        driver_version=read_driver_version(),
        bounds=(MemoryBound.of(name_memory(gpu), capacity_bytes, free_bytes),),
        headroom_fraction=headroom_fraction,
        precisions=precisions,
        gpu=replace(told, compute_capability=capability),
    )


def report_xpu(index: int, headroom_fraction: float, xpu: Any = None) -> DeviceReport:
    """An Intel GPU.

    Args:
        index: Number of the GPU.
        headroom_fraction: Fraction of the memory that a budget keeps free.
        xpu: ``torch.xpu``, or a stand-in with the same names.
    """
    xpu = torch.xpu if xpu is None else xpu
    properties = xpu.get_device_properties(index)
    untold = "PyTorch tells it of NVIDIA GPUs only"
    try:
        free_bytes, capacity_bytes = xpu.mem_get_info(index)
        free: int | Unknown = free_bytes
    except RuntimeError:
        free_bytes = capacity_bytes = properties.total_memory
        free = Unknown(reason="the driver does not count what is free")
    version = getattr(properties, "driver_version", None)
    report = _report(
        name=f"xpu:{index}",
        hardware_name=str(properties.name),
        driver_version=Unknown(reason=untold) if version is None else str(version),
        bounds=(MemoryBound.of("memory of the GPU", capacity_bytes, free_bytes),),
        headroom_fraction=headroom_fraction,
        precisions=intel_precisions(properties),
        gpu=GpuReport.not_told(untold),
    )
    return replace(report, free_bytes=free)


def report_mps(headroom_fraction: float, device: MpsDevice | None = None) -> DeviceReport:
    """The GPU of Apple silicon.

    Args:
        headroom_fraction: Fraction of the memory that a budget keeps free.
        device: The device; opened if left out.
    """
    device = device or MpsDevice()
    untold = "Metal does not tell"
    report = _report(
        name=device.name,
        hardware_name=device.hardware_name(),
        driver_version=device.driver_version() or Unknown(reason=untold),
        bounds=device.bounds(None),
        headroom_fraction=headroom_fraction,
        precisions=apple_precisions(),
        gpu=GpuReport.not_told(untold),
    )
    # Metal's recommendation says nothing of what is free; the memory is the machine's.
    return replace(report, free_bytes=psutil.virtual_memory().available)


def _report(
    *,
    name: str,
    hardware_name: str,
    driver_version: str | Unknown,
    bounds: tuple[MemoryBound, ...],
    headroom_fraction: float,
    precisions: tuple[PrecisionSupport, ...],
    gpu: GpuReport,
) -> DeviceReport:
    return DeviceReport(
        name=name,
        hardware_name=hardware_name,
        driver_version=driver_version,
        capacity_bytes=bounds[0].capacity_bytes,
        free_bytes=bounds[0].available_bytes,
        bounds=bounds,
        budget=MemoryBudget.from_bounds(bounds, headroom_fraction=headroom_fraction),
        precisions=precisions,
        gpu=gpu,
    )


def _cuda_formats(properties: Any) -> tuple[tuple[PrecisionSupport, ...], str]:
    if torch.version.hip is not None:
        architecture = str(properties.gcnArchName).partition(":")[0]
        return amd_precisions(architecture), architecture
    capability = (properties.major, properties.minor)
    return nvidia_precisions(capability), "{}.{}".format(*capability)

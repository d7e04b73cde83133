"""From a device of PyTorch to the same GPU in NVML.

The two count differently: PyTorch counts what ``CUDA_VISIBLE_DEVICES`` leaves, by default the
fastest first; NVML counts every GPU in the order of the bus. So a GPU is found by what names
it for good, its UUID or its place on the bus, and by its number only where that is certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from autobatch.devices.nvml.session import Nvml, NvmlGpu
from autobatch.records import Unknown

_MIG_IS_ON = 1


def find_gpu(
    nvml: Nvml, *, index: int, properties: Any, environ: Mapping[str, str]
) -> NvmlGpu | Unknown:
    """Find the GPU, or the MIG slice, that PyTorch calls ``cuda:INDEX``.

    Args:
        nvml: A started NVML.
        index: PyTorch's number of the device.
        properties: What ``torch.cuda.get_device_properties`` returned. Its ``uuid`` came with
            PyTorch 2.4 and its ``pci_bus_id`` later; neither is needed.
        environ: The environment variables that PyTorch started with.
    """
    entry = visible_entry(environ.get("CUDA_VISIBLE_DEVICES"), index)
    if entry.startswith("MIG-"):
        return _by_uuid(nvml, entry)
    uuid = getattr(properties, "uuid", None)
    if uuid is not None:
        found = _by_bare_uuid(nvml, str(uuid))
    elif getattr(properties, "pci_bus_id", None) is not None:
        found = _by_bus(nvml, properties)
    elif entry.startswith("GPU-"):
        found = _by_uuid(nvml, entry)
    else:
        found = _by_number(nvml, entry or str(index), environ)
    return found if isinstance(found, Unknown) else _slice_in_use(found)


def list_gpus(nvml: Nvml) -> tuple[NvmlGpu, ...]:
    """Every GPU of the machine that NVML can open, in the order of the bus."""
    count = nvml.call("nvmlDeviceGetCount")
    if isinstance(count, Unknown):
        return ()
    handles = (nvml.call("nvmlDeviceGetHandleByIndex", index) for index in range(count))
    return tuple(NvmlGpu(nvml, each) for each in handles if not isinstance(each, Unknown))


def visible_entry(variable: str | None, index: int) -> str:
    """Read the entry of a device in ``CUDA_VISIBLE_DEVICES``.

    Args:
        variable: Value of the variable, ``None`` if it is not set.
        index: Number of the device.

    Returns:
        The entry; empty if there is none.
    """
    entries = variable.split(",") if variable else []
    return entries[index].strip() if index < len(entries) else ""


def _by_bare_uuid(nvml: Nvml, uuid: str) -> NvmlGpu | Unknown:
    gpu = _by_uuid(nvml, f"GPU-{uuid}")
    if not isinstance(gpu, Unknown):
        return gpu
    as_slice = _by_uuid(nvml, f"MIG-{uuid}")
    return gpu if isinstance(as_slice, Unknown) else as_slice


def _by_uuid(nvml: Nvml, uuid: str) -> NvmlGpu | Unknown:
    handle = nvml.call("nvmlDeviceGetHandleByUUID", uuid)
    if not isinstance(handle, Unknown):
        return NvmlGpu(nvml, handle, is_mig_slice=uuid.startswith("MIG-"))
    # CUDA takes the beginning of a UUID where it is the only one that begins so.
    same = [gpu for gpu in list_gpus(nvml) if _uuid(gpu).startswith(uuid)]
    return same[0] if len(same) == 1 else Unknown(reason=handle.reason)


def _uuid(gpu: NvmlGpu) -> str:
    uuid = gpu.ask("nvmlDeviceGetUUID")
    return "" if isinstance(uuid, Unknown) else str(uuid)


def _by_bus(nvml: Nvml, properties: Any) -> NvmlGpu | Unknown:
    domain = getattr(properties, "pci_domain_id", 0)
    device = getattr(properties, "pci_device_id", 0)
    place = f"{domain:08X}:{properties.pci_bus_id:02X}:{device:02X}.0"
    handle = nvml.call("nvmlDeviceGetHandleByPciBusId", place)
    return handle if isinstance(handle, Unknown) else NvmlGpu(nvml, handle)


def _by_number(nvml: Nvml, entry: str, environ: Mapping[str, str]) -> NvmlGpu | Unknown:
    gpus = list_gpus(nvml)
    is_certain = len(gpus) == 1 or environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if not is_certain or not entry.isdigit() or int(entry) >= len(gpus):
        return Unknown(
            reason="this PyTorch does not say which of the GPUs it is; "
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID"
        )
    return gpus[int(entry)]


def _slice_in_use(gpu: NvmlGpu) -> NvmlGpu | Unknown:
    """The slice that CUDA takes, where a GPU is cut into slices: the first that is visible.

    Asked as a whole, such a GPU would answer for all its slices.
    """
    mode = gpu.ask("nvmlDeviceGetMigMode")
    if gpu.is_mig_slice or isinstance(mode, Unknown) or mode[0] != _MIG_IS_ON:
        return gpu
    count = gpu.ask("nvmlDeviceGetMaxMigDeviceCount")
    for index in range(0 if isinstance(count, Unknown) else count):
        handle = gpu.ask("nvmlDeviceGetMigDeviceHandleByIndex", index)
        if not isinstance(handle, Unknown):
            return NvmlGpu(gpu.nvml, handle, is_mig_slice=True)
    return Unknown(reason="the GPU is cut into MIG slices, and NVML shows none of them here")

"""From the name of a device to the device."""

from __future__ import annotations

import re

from autobatch.devices.base import Device
from autobatch.devices.cpu import CpuDevice
from autobatch.errors import DeviceError

_NAME = re.compile(r"auto|cpu|mps|(?:cuda|xpu)(?::(\d+))?")


def check_device_name(name: str) -> None:
    """Refuse a name that no device can have, without loading PyTorch.

    Raises:
        DeviceError: If the name is none of those that are known.
    """
    if not _NAME.fullmatch(name):
        raise DeviceError(
            f"unknown device {name!r}", hint="use auto, cpu, cuda, cuda:0, xpu, xpu:0 or mps"
        )


def select_device(name: str) -> Device:
    """Open a device.

    Args:
        name: ``auto`` (the first that there is of ``cuda``, ``xpu``, ``mps``, ``cpu``), one of
            these, ``cuda:INDEX`` or ``xpu:INDEX``.

    Raises:
        DeviceError: If the name is unknown.
        DeviceUnavailableError: If the device is not there.
    """
    check_device_name(name)
    kind, _, index = (prefer() if name == "auto" else name).partition(":")
    if kind == "cpu":
        return CpuDevice()
    # Import lazily: calls for the CPU alone do not need the GPU modules.
    if kind == "cuda":
        from autobatch.devices.cuda import CudaDevice

        return CudaDevice(int(index or 0))
    if kind == "xpu":
        from autobatch.devices.xpu import XpuDevice

        return XpuDevice(int(index or 0))
    from autobatch.devices.mps import MpsDevice

    return MpsDevice()


def list_device_names() -> tuple[str, ...]:
    """Every device that PyTorch can use here, those that ``auto`` prefers first."""
    import torch

    names = []
    if torch.cuda.is_available():
        names += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.xpu.is_available():
        names += [f"xpu:{index}" for index in range(torch.xpu.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return (*names, "cpu")


def prefer() -> str:
    """Name of the device that ``auto`` takes."""
    return list_device_names()[0]

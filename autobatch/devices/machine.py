"""Every device of this machine, and why one that could be expected is not among them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import torch

from autobatch.devices.cpu_report import report_cpu
from autobatch.devices.gpu_report import report_cuda, report_mps, report_xpu
from autobatch.devices.nvml import Nvml, list_gpus, open_nvml
from autobatch.devices.select import check_device_name, list_device_names
from autobatch.errors import DeviceUnavailableError
from autobatch.records import DeviceReport, MachineReport, Settings, Unknown


def report_machine(name: str | None = None) -> MachineReport:
    """What every device says of itself.

    Args:
        name: Only this one, as the option ``device`` takes it; every one if left out.

    Raises:
        DeviceError: If no device can have the name.
        DeviceUnavailableError: If the device is not there.
    """
    if name is not None:
        check_device_name(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        names = list_device_names()
    wanted = names if name is None else (_pick(name, names),)
    headroom_fraction = Settings().headroom_fraction
    nvml = open_nvml()
    return MachineReport(
        devices=tuple(_report(each, headroom_fraction) for each in wanted),
        auto=names[0],
        torch_version=str(torch.__version__),
        notes=(*_first_lines(caught), *(explain_absence(nvml) if names == ("cpu",) else ())),
    )


def explain_absence(nvml: Nvml | Unknown) -> Iterator[str]:
    """Why no GPU is listed.

    Args:
        nvml: NVML, or why there is none.
    """
    build = f"PyTorch {torch.__version__}"
    if isinstance(nvml, Unknown):
        yield f"No GPU: {build} sees none, and NVML cannot be asked: {nvml.reason}"
        return
    gpus = list_gpus(nvml)
    if not gpus:
        yield f"No GPU: {build} sees none, and the NVIDIA driver has none"
    for gpu in gpus:
        hardware = gpu.ask("nvmlDeviceGetName")
        known_as = "a GPU" if isinstance(hardware, Unknown) else str(hardware)
        yield (
            f"The NVIDIA driver has {known_as}, and {build} cannot use it: install a PyTorch "
            "build for CUDA, and see that CUDA_VISIBLE_DEVICES does not hide it"
        )


def _pick(name: str, names: tuple[str, ...]) -> str:
    if name == "auto":
        return names[0]
    wanted = f"{name}:0" if name in ("cuda", "xpu") else name
    if wanted not in names:
        raise DeviceUnavailableError(
            f"device {wanted!r} is not available: there is {', '.join(names)}",
            hint="run `autobatch devices` for those of this machine",
        )
    return wanted


def _report(name: str, headroom_fraction: float) -> DeviceReport:
    kind, _, index = name.partition(":")
    if kind == "cuda":
        return report_cuda(int(index), headroom_fraction)
    if kind == "xpu":
        return report_xpu(int(index), headroom_fraction)
    return report_mps(headroom_fraction) if kind == "mps" else report_cpu(headroom_fraction)


def _first_lines(caught: list[warnings.WarningMessage]) -> tuple[str, ...]:
    # What PyTorch has to say about a driver that it cannot use comes as a warning.
    return tuple(str(each.message).strip().partition("\n")[0] for each in caught)

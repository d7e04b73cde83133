"""The devices of a machine as text: a block for each, and what else to know."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from autobatch.records import (
    CpuReport,
    DeviceReport,
    GpuReport,
    MachineReport,
    PrecisionSupport,
    ProcessUse,
    Unknown,
)
from autobatch.reporting.device_document import find_unknown
from autobatch.reporting.screen import show
from autobatch.reporting.tables import Row, labelled
from autobatch.units import format_bytes, format_fraction

_IDLE = "idle"
# Absent from every CPU: no news.
_SILENT = ("driver_version",)


def render_devices(machine: MachineReport, console: Console) -> None:
    """Print a machine's devices, for a person to read.

    Args:
        machine: What to print.
        console: Where to; its width, colours and encoding are respected.
    """
    for device in machine.devices:
        show(console, _headline(device), labelled(_rows(device)), "")
    for note in machine.notes:
        show(console, Text(note))
    show(console, Text(f"PyTorch {machine.torch_version}; --device auto takes {machine.auto}"))


def _headline(device: DeviceReport) -> Text:
    driver = "" if isinstance(device.driver_version, Unknown) else device.driver_version
    after = f", driver {driver}" if driver else ""
    return Text.assemble((device.name, "bold"), f" ({device.hardware_name}{after})")


def _rows(device: DeviceReport) -> Iterator[Row]:
    yield from _memory_rows(device)
    if device.cpu is not None:
        yield from _core_rows(device.cpu)
    yield "precisions", _precisions(device.precisions)
    if device.gpu is not None:
        yield from _gpu_rows(device.gpu)
    yield from _untold_rows(device)


def _memory_rows(device: DeviceReport) -> Iterator[Row]:
    if isinstance(device.free_bytes, int) and isinstance(device.capacity_bytes, int):
        yield (
            "memory",
            f"{format_bytes(device.free_bytes)} free of {format_bytes(device.capacity_bytes)}",
        )
    budget = device.budget
    if isinstance(budget, Unknown):
        return
    used = format_bytes(budget.used_by_others_bytes)
    yield (
        "budget",
        Text(
            f"{format_bytes(budget.budget_bytes)} of {format_bytes(budget.capacity_bytes)}, bound "
            f"by {budget.bound_by}: {used} used by others, "
            f"{format_fraction(budget.headroom_fraction)} kept free"
        ),
    )
    if len(device.bounds) < 2:
        return
    for label, bound in zip(_once("memory limits"), device.bounds, strict=False):
        mark = "> " if bound.name == budget.bound_by else "  "
        yield (
            label,
            Text(
                f"{mark}{format_bytes(bound.available_bytes)} to have of "
                f"{format_bytes(bound.capacity_bytes)}: {bound.name}"
            ),
        )


def _core_rows(cpu: CpuReport) -> Iterator[Row]:
    parts = [f"{cpu.num_usable_cores:g} usable"]
    if isinstance(cpu.num_cores, int):
        parts.append(f"{cpu.num_cores} in the machine")
    if isinstance(cpu.num_affinity_cores, int):
        parts.append(f"{cpu.num_affinity_cores} in this process's affinity mask")
    parts += [f"{each.num_cores:g} by the quota of {each.name}" for each in cpu.quotas]
    yield "cores", Text("; ".join(parts if cpu.quotas else [*parts, "no quota"]))


def _precisions(supports: tuple[PrecisionSupport, ...]) -> Text:
    there = [each for each in supports if each.is_supported is True]
    missing = [each for each in supports if each.is_supported is False]
    text = ", ".join(_with_detail(each) for each in there)
    if missing:
        text += "; not " + ", ".join(_with_detail(each) for each in missing)
    return Text(text)


def _with_detail(support: PrecisionSupport) -> str:
    return f"{support.name} ({support.detail})" if support.detail else support.name


def _gpu_rows(gpu: GpuReport) -> Iterator[Row]:
    if isinstance(gpu.compute_capability, str):
        is_nvidias = gpu.compute_capability[0].isdigit()
        before = "compute capability " if is_nvidias else ""
        after = "; a MIG slice" if gpu.is_mig_slice is True else ""
        yield "architecture", Text(before + gpu.compute_capability + after)
    if isinstance(gpu.processes, tuple):
        yield from _process_rows(gpu.processes)
    limits = gpu.clocks_limited_by
    if isinstance(limits, tuple):
        held = [each for each in limits if each != _IDLE]
        free = "idle" if limits else "nothing holds them down"
        yield "clocks", Text("held down by " + ", ".join(held) if held else free)
    ecc = gpu.ecc
    if not isinstance(ecc.is_enabled, Unknown):
        counts = ((ecc.num_corrected, "corrected"), (ecc.num_uncorrected, "uncorrected"))
        known = [f"{count} {kind}" for count, kind in counts if isinstance(count, int)]
        yield "error correction", ", ".join(["on" if ecc.is_enabled else "off", *known])
    if isinstance(gpu.pcie_width, int):
        yield "PCIe link", f"{gpu.pcie_width} lanes"


def _process_rows(processes: tuple[ProcessUse, ...]) -> Iterator[Row]:
    if not processes:
        yield "other processes", "none that the driver shows"
    for label, process in zip(_once("other processes"), processes, strict=False):
        name, used = process.name, process.used_bytes
        if isinstance(name, Unknown):
            name = f"unknown ({name.reason})"
        size = "?" if isinstance(used, Unknown) else format_bytes(used)
        yield label, Text(f"{size} by {name}, pid {process.pid}")


def _untold_rows(device: DeviceReport) -> Iterator[Row]:
    """What is unknown, a line for each reason."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in find_unknown(device).items():
        is_shown = path.startswith("gpu.processes[")
        if not is_shown and not (device.gpu is None and path in _SILENT):
            by_reason.setdefault(reason, []).append(_plain_name(path))
    for label, (reason, names) in zip(_once("not told"), by_reason.items(), strict=False):
        yield label, Text(f"{', '.join(dict.fromkeys(names))}: {reason}")


def _plain_name(path: str) -> str:
    # "gpu.ecc.num_corrected" is of the error correction; "free_bytes" is what is free.
    name = path.removeprefix("gpu.").removeprefix("cpu.").partition(".")[0].partition("[")[0]
    known = {"ecc": "error correction", "pcie_width": "PCIe link", "clocks_limited_by": "clocks"}
    plain = name.removesuffix("_bytes").removeprefix("is_").removeprefix("num_")
    return known.get(name, plain.replace("_", " "))


def _once(label: str) -> Iterator[str]:
    """A label for the first of several lines."""
    yield label
    while True:
        yield ""

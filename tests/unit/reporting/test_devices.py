"""Devices as text and as JSON, from hand-made records."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from autobatch.records import (
    CpuQuota,
    CpuReport,
    DeviceReport,
    EccReport,
    GpuReport,
    MachineReport,
    MemoryBound,
    MemoryBudget,
    PrecisionSupport,
    ProcessUse,
    Unknown,
)
from autobatch.reporting import DEVICES, render_devices

GIB = 2**30
NOT_SUPPORTED = Unknown(reason="this GPU, or this driver for it, does not tell")

DEVICE_KEYS = {
    "name", "hardware_name", "driver_version", "capacity_bytes", "free_bytes", "bounds", "budget",
    "precisions", "gpu", "cpu", "unknown",
}  # fmt: skip
GPU_KEYS = {
    "is_mig_slice", "compute_capability", "processes", "clocks_limited_by", "ecc", "pcie_width",
}  # fmt: skip


def _memory(*bounds: MemoryBound) -> dict[str, object]:
    return {
        "capacity_bytes": bounds[0].capacity_bytes,
        "free_bytes": bounds[0].available_bytes,
        "bounds": bounds,
        "budget": MemoryBudget.from_bounds(bounds, headroom_fraction=0.1),
    }


def _cpu() -> DeviceReport:
    return DeviceReport(
        name="cpu",
        hardware_name="Intel(R) Xeon(R) Processor",
        driver_version=Unknown(reason="a CPU has no driver"),
        precisions=(
            PrecisionSupport(name="fp32", is_supported=True),
            PrecisionSupport(name="tf32", is_supported=False, detail="a format of NVIDIA GPUs"),
        ),
        cpu=CpuReport(
            num_cores=64,
            num_affinity_cores=16,
            quotas=(CpuQuota(name="cgroup /sys/fs/cgroup/pod", num_cores=1.5),),
            num_usable_cores=1.5,
        ),
        **_memory(  # type: ignore[arg-type]
            MemoryBound.of("physical memory", 128 * GIB, 100 * GIB),
            MemoryBound.of("memory limit of cgroup /sys/fs/cgroup/pod", 8 * GIB, 6 * GIB),
        ),
    )


def _gpu() -> DeviceReport:
    return DeviceReport(
        name="cuda:0",
        hardware_name="NVIDIA H100 80GB HBM3",
        driver_version="570.86.15",
        precisions=(
            PrecisionSupport(name="fp32", is_supported=True),
            PrecisionSupport(name="fp8", is_supported=True),
        ),
        gpu=GpuReport(
            is_mig_slice=False,
            compute_capability="9.0",
            processes=(
                ProcessUse(pid=4711, name="python", used_bytes=12 * GIB),
                ProcessUse(pid=9, name=Unknown(reason="another container"), used_bytes=8 * GIB),
            ),
            clocks_limited_by=("power limit",),
            ecc=EccReport(is_enabled=True, num_corrected=3, num_uncorrected=0),
            pcie_width=8,
        ),
        **_memory(MemoryBound.of("memory of the GPU", 79 * GIB, 59 * GIB)),  # type: ignore[arg-type]
    )


def _machine(*devices: DeviceReport, notes: tuple[str, ...] = ()) -> MachineReport:
    return MachineReport(devices=devices, auto=devices[0].name, torch_version="2.13.0", notes=notes)


def _text(machine: MachineReport, width: int = 80) -> str:
    stream = io.StringIO()
    render_devices(machine, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def _words(machine: MachineReport) -> str:
    return " ".join(_text(machine).split())


@pytest.mark.parametrize("width", [60, 80, 200])
def test_text_keeps_within_the_window(width: int) -> None:
    machine = _machine(_gpu(), _cpu(), notes=())
    lines = _text(machine, width).splitlines()
    assert max(map(len, lines)) <= width
    assert not any(line != line.rstrip() for line in lines)


def test_a_gpu_shows_its_memory_and_what_bounds_it() -> None:
    words = _words(_machine(_gpu()))
    assert "cuda:0 (NVIDIA H100 80GB HBM3, driver 570.86.15)" in words
    assert "59.0 GiB free of 79.0 GiB" in words
    assert "51.1 GiB of 79.0 GiB, bound by memory of the GPU: 20.0 GiB used by others" in words


@pytest.mark.parametrize(
    ("capability", "is_mig_slice", "text"),
    [
        ("9.0", False, "architecture compute capability 9.0 other"),
        ("9.0", True, "architecture compute capability 9.0; a MIG slice other"),
        ("gfx942", False, "architecture gfx942 other"),
    ],
)
def test_a_gpu_shows_its_architecture(capability: str, is_mig_slice: bool, text: str) -> None:
    gpu = _gpu()
    assert gpu.gpu is not None
    other = replace(gpu.gpu, compute_capability=capability, is_mig_slice=is_mig_slice)
    assert text in _words(_machine(replace(gpu, gpu=other)))


def test_a_gpu_shows_who_else_uses_it() -> None:
    words = _words(_machine(_gpu()))
    assert "12.0 GiB by python, pid 4711" in words
    assert "8.0 GiB by unknown (another container), pid 9" in words


def test_a_gpu_shows_its_state() -> None:
    words = _words(_machine(_gpu()))
    assert "clocks held down by power limit" in words
    assert "on, 3 corrected, 0 uncorrected" in words
    assert "PCIe link 8 lanes" in words


def test_an_idle_gpu_is_not_held_down() -> None:
    gpu = _gpu()
    assert gpu.gpu is not None
    idle = replace(gpu.gpu, clocks_limited_by=("idle",))
    words = _words(_machine(replace(gpu, gpu=idle)))
    assert "clocks idle" in words
    assert "held down" not in words


def test_a_processor_marks_the_limit_that_binds() -> None:
    lines = _text(_machine(_cpu()), 120).splitlines()
    (binding,) = [line for line in lines if "> " in line]
    assert "6.0 GiB to have of 8.0 GiB: memory limit of cgroup" in binding
    assert any("100 GiB to have of 128 GiB: physical memory" in line for line in lines)


def test_a_processor_says_how_many_cores_are_really_usable_and_why() -> None:
    words = _words(_machine(_cpu()))
    assert "1.5 usable; 64 in the machine; 16 in this process's affinity mask" in words
    assert "1.5 by the quota of cgroup /sys/fs/cgroup/pod" in words


def test_what_is_not_told_is_one_line_for_each_reason() -> None:
    silent = replace(_gpu(), gpu=GpuReport.not_told("Metal does not tell"))
    text = _text(_machine(silent))
    assert text.count("Metal does not tell") == 1
    words = " ".join(text.split())
    for name in ("clocks", "error correction", "PCIe link", "processes"):
        assert name in words[words.index("not told") :]
    assert "_" not in words[words.index("not told") :]


def test_a_processors_missing_driver_is_no_news() -> None:
    assert "not told" not in _text(_machine(_cpu()))


def test_notes_and_the_choice_of_auto_come_last() -> None:
    text = _text(_machine(_cpu(), notes=("No GPU: there is none",)))
    assert text.splitlines()[-2:] == [
        "No GPU: there is none",
        "PyTorch 2.13.0; --device auto takes cpu",
    ]


def test_control_codes_in_a_processs_name_do_not_reach_the_terminal() -> None:
    gpu = _gpu()
    assert gpu.gpu is not None
    evil = replace(gpu.gpu, processes=(ProcessUse(pid=1, name="\x1b[2Jevil[bold]", used_bytes=1),))
    text = _text(_machine(replace(gpu, gpu=evil)))
    assert "\x1b" not in text
    assert "evil[bold]" in text


def test_the_keys_of_the_document_are_frozen() -> None:
    document = DEVICES.to_document(_machine(_gpu(), _cpu()))
    assert set(document) == {
        "schema_version", "autobatch_version", "torch_version", "auto", "notes", "devices",
    }  # fmt: skip
    assert document["schema_version"] == 1
    gpu, cpu = document["devices"]
    assert set(gpu) == set(cpu) == DEVICE_KEYS
    assert set(gpu["gpu"]) == GPU_KEYS
    assert set(gpu["gpu"]["ecc"]) == {"is_enabled", "num_corrected", "num_uncorrected"}
    assert set(gpu["gpu"]["processes"][0]) == {"pid", "name", "used_bytes"}
    assert set(gpu["precisions"][0]) == {"name", "is_supported", "detail"}
    assert set(cpu["cpu"]) == {"num_cores", "num_affinity_cores", "quotas", "num_usable_cores"}
    assert set(cpu["cpu"]["quotas"][0]) == {"name", "num_cores"}
    assert set(cpu["bounds"][0]) == {"name", "capacity_bytes", "available_bytes", "binds"}
    assert set(cpu["budget"]) == {
        "capacity_bytes", "used_by_others_bytes", "headroom_fraction", "budget_bytes", "bound_by",
    }  # fmt: skip


def test_what_is_unknown_is_null_with_a_reason_by_its_path() -> None:
    gpu = _gpu()
    assert gpu.gpu is not None
    partly = replace(
        gpu.gpu, pcie_width=NOT_SUPPORTED, ecc=replace(gpu.gpu.ecc, num_corrected=NOT_SUPPORTED)
    )
    document = DEVICES.to_document(_machine(replace(gpu, gpu=partly)))["devices"][0]
    assert document["gpu"]["pcie_width"] is None
    assert document["gpu"]["ecc"]["num_corrected"] is None
    assert document["gpu"]["processes"][1]["name"] is None
    assert document["unknown"] == {
        "gpu.pcie_width": NOT_SUPPORTED.reason,
        "gpu.ecc.num_corrected": NOT_SUPPORTED.reason,
        "gpu.processes[1].name": "another container",
    }


def test_exactly_one_limit_binds() -> None:
    bounds = DEVICES.to_document(_machine(_cpu()))["devices"][0]["bounds"]
    assert [bound["binds"] for bound in bounds] == [False, True]


def test_the_document_is_json_that_ends_in_a_newline() -> None:
    text = DEVICES.dumps(_machine(_gpu(), _cpu()))
    assert text.endswith("}\n")
    assert json.loads(text)["auto"] == "cuda:0"

"""What a GPU says of itself, and what is made of what it will not say."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pynvml
import pytest

from autobatch.devices.nvml import Nvml, NvmlGpu
from autobatch.devices.nvml.readings import (
    decode_clock_limits,
    read_clock_limits,
    read_gpu,
    read_memory,
)
from autobatch.records import EccReport, GpuReport, ProcessUse, Unknown

GIB = 2**30


def test_a_normal_gpu_tells_everything(gpu: Any) -> None:
    assert read_gpu(gpu) == GpuReport(
        is_mig_slice=False,
        compute_capability="9.0",
        processes=(
            ProcessUse(
                pid=4_000_001, name=Unknown(reason="another container"), used_bytes=20 * GIB
            ),
        ),
        clocks_limited_by=("power limit",),
        ecc=EccReport(is_enabled=True, num_corrected=3, num_uncorrected=0),
        pcie_width=8,
    )


def test_the_drivers_own_part_is_neither_free_nor_ours_to_have(gpu: Any) -> None:
    assert read_memory(gpu) == (79 * GIB, 59 * GIB)


def test_an_older_driver_tells_memory_in_the_first_form(
    gpu: Any, module: Any, nvml_error: Any
) -> None:
    newer = module.answers["nvmlDeviceGetMemoryInfo"]

    def older(handle: Any, version: int | None = None) -> Any:
        if version is not None:
            raise nvml_error("FUNCTION_NOT_FOUND")
        return newer(handle)

    module.answers["nvmlDeviceGetMemoryInfo"] = older
    assert read_memory(gpu) == (80 * GIB, 59 * GIB)


def _unknowns(record: Any) -> int:
    if isinstance(record, Unknown):
        return 1
    if hasattr(record, "__dataclass_fields__"):
        return sum(_unknowns(getattr(record, item.name)) for item in fields(record))
    return 0


def test_a_gpu_that_supports_nothing_has_a_reason_for_each(silent_gpu: Any) -> None:
    report = read_gpu(silent_gpu)
    told = report.is_mig_slice
    assert told is False
    assert _unknowns(report) == _unknowns(GpuReport.not_told("x")) - 1
    assert isinstance(read_memory(silent_gpu), Unknown)


def test_what_only_an_administrator_may_see_says_so(gpu: Any, module: Any, nvml_error: Any) -> None:
    for name in module.answers:
        module.answers[name] = nvml_error("NO_PERMISSION")
    report = read_gpu(gpu)
    assert "administrators" in report.ecc.num_corrected.reason  # type: ignore[union-attr]
    assert "administrators" in report.pcie_width.reason  # type: ignore[union-attr]


def test_a_gpu_lost_midway_keeps_what_it_told_and_loses_the_rest(
    gpu: Any, module: Any, nvml_error: Any
) -> None:
    def last_words(_handle: Any) -> int:
        for name in module.answers:
            module.answers[name] = nvml_error("GPU_IS_LOST")
        return 0x4

    module.answers["nvmlDeviceGetCurrentClocksEventReasons"] = last_words
    report = read_gpu(gpu)
    assert report.clocks_limited_by == ("power limit",)
    assert report.compute_capability == "9.0"
    assert "lost" in report.ecc.num_corrected.reason  # type: ignore[union-attr]
    assert "lost" in report.pcie_width.reason  # type: ignore[union-attr]


def test_a_slice_is_told_to_be_one(module: Any) -> None:
    gpu = NvmlGpu(Nvml(module), "slice", is_mig_slice=True)
    assert read_gpu(gpu).is_mig_slice is True


def test_a_slice_has_the_clocks_of_the_whole_gpu(module: Any, nvml_error: Any) -> None:
    def of_whole_gpus_only(handle: str) -> int:
        if handle != "parent":
            raise nvml_error("NOT_SUPPORTED")
        return 0x4

    module.answers["nvmlDeviceGetDeviceHandleFromMigDeviceHandle"] = "parent"
    module.answers["nvmlDeviceGetCurrentClocksEventReasons"] = of_whole_gpus_only
    report = read_gpu(NvmlGpu(Nvml(module), "slice", is_mig_slice=True))
    assert report.clocks_limited_by == ("power limit",)


def test_an_older_driver_calls_them_throttle_reasons(
    gpu: Any, module: Any, nvml_error: Any
) -> None:
    module.answers["nvmlDeviceGetCurrentClocksEventReasons"] = nvml_error("FUNCTION_NOT_FOUND")
    module.answers["nvmlDeviceGetCurrentClocksThrottleReasons"] = 0x60
    assert read_clock_limits(gpu) == ("too hot (driver)", "too hot (hardware)")


@pytest.mark.parametrize(
    ("bits", "words"),
    [
        (0, ()),
        (0x1, ("idle",)),
        (0x4 | 0x8, ("power limit", "hardware slowdown")),
        (0x80, ("power supply brake",)),
        (1 << 40, ("reason 0x10000000000",)),
    ],
)
def test_bits_become_words(bits: int, words: tuple[str, ...]) -> None:
    assert decode_clock_limits(bits) == words


def test_every_reason_that_the_binding_names_has_a_word() -> None:
    names = [name for name in dir(pynvml) if name.startswith(("nvmlClocksEventReason",
             "nvmlClocksThrottleReason"))]  # fmt: skip
    assert len(names) > 10
    for name in names:
        words = decode_clock_limits(getattr(pynvml, name))
        assert not any("reason 0x" in word for word in words), name

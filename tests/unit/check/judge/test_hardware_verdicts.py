"""Verdicts on devices: met, not met, or not told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autobatch.check.judge.hardware import judge_hardware, version_key
from autobatch.check.records import HardwareLimits
from autobatch.records import (
    DeviceReport,
    GpuReport,
    MemoryBound,
    MemoryBudget,
    PrecisionSupport,
    ProcessUse,
    Status,
    Unknown,
)

GIB = 2**30
PLAIN = GpuReport.not_told("nobody knows")
ECC = PLAIN.ecc


def gpu(name="cuda:0", *, capacity_gib=80, free_gib=70, driver="550.54.14", **told):
    bounds = (MemoryBound.of("memory of the GPU", capacity_gib * GIB, free_gib * GIB),)
    return DeviceReport(
        name=name,
        hardware_name="Test GPU",
        driver_version=driver,
        capacity_bytes=capacity_gib * GIB,
        free_bytes=free_gib * GIB,
        bounds=bounds,
        budget=MemoryBudget.from_bounds(bounds, headroom_fraction=0.1),
        precisions=(
            PrecisionSupport(name="bf16", is_supported=True),
            PrecisionSupport(name="fp8", is_supported=False, detail="needs a newer GPU"),
            PrecisionSupport(name="tf32", is_supported=Unknown(reason="?")),
        ),
        gpu=replace(PLAIN, **told),
    )


def judge_one(limits, *devices, cores=8.0, throttled_by=None):
    (verdict,) = judge_hardware(limits, devices, cores, throttled_by)
    return verdict


GOOD = gpu(
    processes=(),
    clocks_limited_by=("idle",),
    ecc=replace(ECC, is_enabled=True, num_corrected=0, num_uncorrected=0),
    pcie_width=16,
)
BAD = gpu(
    capacity_gib=40,
    free_gib=10,
    driver="535.9",
    processes=(ProcessUse(pid=1, name="other", used_bytes=GIB),),
    clocks_limited_by=("idle", "too hot (hardware)"),
    ecc=replace(ECC, is_enabled=True, num_corrected=3, num_uncorrected=1),
    pcie_width=8,
)
SILENT = replace(gpu(driver=Unknown(reason="no driver")), free_bytes=Unknown(reason="not told"))
LIMITS = {
    "capacity": HardwareLimits(min_capacity_bytes=80 * GIB),
    "free": HardwareLimits(min_free_bytes=60 * GIB),
    "driver": HardwareLimits(min_driver="550"),
    "throttling": HardwareLimits(no_throttling=True),
    "ecc": HardwareLimits(max_ecc_errors=0),
    "pcie": HardwareLimits(min_pcie_width=16),
    "processes": HardwareLimits(max_other_processes=0),
}


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_is_met_by_a_good_gpu_and_not_by_a_bad_one(name) -> None:
    assert judge_one(LIMITS[name], GOOD).status is Status.MET
    assert judge_one(LIMITS[name], BAD).status is Status.NOT_MET


@pytest.mark.parametrize("name", sorted(set(LIMITS) - {"capacity"}))
def test_what_a_gpu_does_not_tell_is_inconclusive_with_the_reason(name) -> None:
    verdict = judge_one(LIMITS[name], SILENT)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.reason


def test_every_device_has_to_meet_a_limit_and_the_one_that_does_not_is_named() -> None:
    other = replace(BAD, name="cuda:1")
    verdict = judge_one(LIMITS["capacity"], GOOD, other)
    assert (verdict.status, verdict.value) == (Status.NOT_MET, 40 * GIB)
    assert verdict.reason == "cuda:1"
    assert judge_one(LIMITS["pcie"], GOOD, SILENT).status is Status.INCONCLUSIVE
    assert judge_one(LIMITS["pcie"], SILENT, BAD).status is Status.NOT_MET


def test_devices_are_counted() -> None:
    limits = HardwareLimits(min_devices=2)
    assert judge_one(limits, GOOD, GOOD).status is Status.MET
    assert judge_one(limits, GOOD).status is Status.NOT_MET
    assert judge_one(limits).value == 0


@pytest.mark.parametrize("name", LIMITS)
def test_without_a_device_nothing_else_is_decided(name) -> None:
    assert judge_one(LIMITS[name]).status is Status.INCONCLUSIVE


def test_cores_are_those_of_the_processor_whatever_the_device() -> None:
    assert judge_one(HardwareLimits(min_cores=8), GOOD).status is Status.MET
    assert judge_one(HardwareLimits(min_cores=8), GOOD, cores=7.5).status is Status.NOT_MET


@pytest.mark.parametrize(
    ("precision", "status"),
    [
        ("bf16", Status.MET),
        ("fp8", Status.NOT_MET),
        ("tf32", Status.INCONCLUSIVE),
        ("fp16", Status.INCONCLUSIVE),
    ],
)
def test_a_number_format_is_there_or_not_or_not_told(precision, status) -> None:
    verdict = judge_one(HardwareLimits(precisions=(precision,)), GOOD)
    assert verdict.status is status
    assert verdict.name == f"require-{precision}"


def test_versions_are_compared_by_their_numbers() -> None:
    assert version_key("550.54.14") > version_key("550.9")
    assert version_key("1000") > version_key("999.99")
    assert judge_one(HardwareLimits(min_driver="550.54"), GOOD).status is Status.MET
    assert judge_one(HardwareLimits(min_driver="550.55"), GOOD).status is Status.NOT_MET
    assert judge_one(LIMITS["driver"], gpu(driver="beta")).status is Status.INCONCLUSIVE


def test_what_throttled_the_run_counts_as_well_as_what_throttles_now() -> None:
    limits = HardwareLimits(no_throttling=True)
    assert judge_one(limits, GOOD, throttled_by=()).status is Status.MET
    verdict = judge_one(limits, GOOD, throttled_by=("power limit",))
    assert (verdict.status, verdict.value) == (Status.NOT_MET, "power limit")
    unknown = judge_one(limits, GOOD, throttled_by=Unknown(reason="not watched"))
    assert unknown.status is Status.INCONCLUSIVE


def test_clocks_held_down_by_choice_are_no_throttling() -> None:
    chosen = gpu(clocks_limited_by=("clocks set by the user", "idle"))
    assert judge_one(HardwareLimits(no_throttling=True), chosen).status is Status.MET


def test_errors_that_are_counted_are_enough_to_fail() -> None:
    half = gpu(ecc=replace(ECC, is_enabled=True, num_uncorrected=5))
    assert judge_one(HardwareLimits(max_ecc_errors=4), half).status is Status.NOT_MET
    assert judge_one(HardwareLimits(max_ecc_errors=5), half).status is Status.INCONCLUSIVE


def test_the_tightest_limit_on_memory_is_the_capacity() -> None:
    bounds = (MemoryBound.of("physical", 64 * GIB, 60 * GIB), MemoryBound.of("cgroup", GIB, GIB))
    boxed = replace(gpu(), bounds=bounds)
    assert judge_one(HardwareLimits(min_capacity_bytes=2 * GIB), boxed).value == GIB


def test_nothing_required_is_empty_and_anything_is_not() -> None:
    assert HardwareLimits().is_empty
    assert not any(limits.is_empty for limits in LIMITS.values())
    assert not HardwareLimits(precisions=("bf16",)).is_empty

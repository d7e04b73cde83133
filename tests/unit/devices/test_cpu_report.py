"""The cores and number formats of the CPU, under quotas and without."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from autobatch.devices.cgroup import read_cgroup_quotas
from autobatch.devices.cpu_report import read_cores, report_cpu
from autobatch.devices.precisions import cpu_precisions, nvidia_precisions
from autobatch.records import MemoryBudget


def _quota_v2(folder: Path, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{text}\n")


def _quota_v1(folder: Path, quota_us: int, period_us: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.cfs_quota_us").write_text(f"{quota_us}\n")
    (folder / "cpu.cfs_period_us").write_text(f"{period_us}\n")


def test_version_2_has_every_ancestors_quota(kernel: Any) -> None:
    mount = kernel.mount("cgroup2", "cg")
    kernel.join("0::/pod/app")
    _quota_v2(mount / "pod/app", "max 100000")
    _quota_v2(mount / "pod", "150000 100000")
    (quota,) = read_cgroup_quotas(kernel.proc)
    assert (quota.path, quota.num_cores) == (mount / "pod", 1.5)


def test_version_1_has_the_cpu_controllers_quota(kernel: Any) -> None:
    mount = kernel.mount("cgroup", "cpu", options="rw,cpu,cpuacct")
    kernel.mount("cgroup", "memory", options="rw,memory")
    kernel.join("4:cpu,cpuacct:/app", "5:memory:/elsewhere")
    _quota_v1(mount / "app", 50_000, 100_000)
    _quota_v1(mount, -1, 100_000)
    (quota,) = read_cgroup_quotas(kernel.proc)
    assert (quota.path, quota.num_cores) == (mount / "app", 0.5)


@pytest.mark.parametrize("text", ["", "max", "100000 0", "x 100000"])
def test_a_quota_that_cannot_be_read_is_none(text: str, kernel: Any) -> None:
    mount = kernel.mount("cgroup2", "cg")
    kernel.join("0::/app")
    _quota_v2(mount / "app", text)
    assert read_cgroup_quotas(kernel.proc) == ()


def test_a_quota_below_the_cores_binds(kernel: Any) -> None:
    mount = kernel.mount("cgroup2", "cg")
    kernel.join("0::/app")
    _quota_v2(mount / "app", "25000 100000")
    cores = read_cores(kernel.proc)
    assert cores.num_usable_cores == 0.25
    assert cores.quotas[0].name == f"cgroup {mount / 'app'}"


def test_a_quota_above_the_cores_does_not(kernel: Any) -> None:
    mount = kernel.mount("cgroup2", "cg")
    kernel.join("0::/app")
    _quota_v2(mount / "app", "1000000000 100000")
    usable = read_cores(kernel.proc).num_usable_cores
    assert usable == len(os.sched_getaffinity(0)) <= (psutil.cpu_count() or 1)


def test_the_processor_reports_its_memory_and_budget() -> None:
    report = report_cpu(0.1)
    assert report.name == "cpu" and report.gpu is None and report.cpu is not None
    assert report.capacity_bytes == psutil.virtual_memory().total
    assert isinstance(report.budget, MemoryBudget)
    assert report.budget.bound_by in [bound.name for bound in report.bounds]
    assert report.budget.headroom_fraction == 0.1


@pytest.mark.parametrize(
    ("text", "bf16", "fp16"),
    [
        ("flags : fpu avx512_bf16 amx_bf16 avx512_fp16", "avx512_bf16, amx_bf16", "avx512_fp16"),
        ("flags\t\t: fpu avx2\n", "emulated, slow", "emulated, slow"),
        ("Features\t: fp asimd fphp bf16\n", "bf16", "fphp"),
    ],
)
def test_formats_in_hardware_are_told_from_emulated_ones(
    text: str, bf16: str, fp16: str, tmp_path: Path
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    details = {each.name: each.detail for each in cpu_precisions(file)}
    assert (details["bf16"], details["fp16"]) == (bf16, fp16)


def test_a_system_that_does_not_tell_its_formats_is_not_guessed_at(tmp_path: Path) -> None:
    details = {each.name: each.detail for each in cpu_precisions(tmp_path / "none")}
    assert "does not tell" in details["bf16"]


@pytest.mark.parametrize(
    ("capability", "supported"),
    [
        ((5, 2), {"fp32"}),
        ((7, 5), {"fp32", "fp16"}),
        ((8, 0), {"fp32", "fp16", "bf16", "tf32"}),
        ((8, 9), {"fp32", "fp16", "bf16", "tf32", "fp8"}),
        ((10, 0), {"fp32", "fp16", "bf16", "tf32", "fp8"}),
    ],
)
def test_formats_follow_the_compute_capability(
    capability: tuple[int, int], supported: set[str]
) -> None:
    assert {each.name for each in nvidia_precisions(capability) if each.is_supported} == supported

"""Report on the CPU: its cores, those that this process may use, and its memory."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from autobatch.devices.cgroup import read_cgroup_quotas
from autobatch.devices.cpu import CpuDevice
from autobatch.devices.precisions import cpu_precisions
from autobatch.records import CpuQuota, CpuReport, DeviceReport, MemoryBudget, Unknown


def report_cpu(headroom_fraction: float) -> DeviceReport:
    """The CPU and the machine's memory.

    Args:
        headroom_fraction: Fraction of the memory that a budget keeps free.
    """
    device = CpuDevice()
    bounds = device.bounds(None)
    machine = psutil.virtual_memory()
    return DeviceReport(
        name=device.name,
        hardware_name=device.hardware_name(),
        driver_version=Unknown(reason="a CPU has no driver"),
        capacity_bytes=machine.total,
        free_bytes=machine.available,
        bounds=bounds,
        budget=MemoryBudget.from_bounds(bounds, headroom_fraction=headroom_fraction),
        precisions=cpu_precisions(),
        cpu=read_cores(),
    )


def read_cores(proc: Path = Path("/proc/self")) -> CpuReport:
    """The machine's cores and what limits their use.

    Args:
        proc: This process's folder under ``/proc``; another one in tests.
    """
    quotas = tuple(
        CpuQuota(name=f"cgroup {quota.path}", num_cores=quota.num_cores)
        for quota in read_cgroup_quotas(proc)
    )
    num_cores = psutil.cpu_count()
    num_affinity_cores = _affinity()
    limits = [quota.num_cores for quota in quotas]
    limits += [float(each) for each in (num_cores, num_affinity_cores) if isinstance(each, int)]
    return CpuReport(
        num_cores=num_cores or Unknown(reason="the system does not tell"),
        num_affinity_cores=num_affinity_cores,
        quotas=quotas,
        num_usable_cores=min(limits, default=1.0),
    )


def _affinity() -> int | Unknown:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return Unknown(reason="this system binds no process to cores")

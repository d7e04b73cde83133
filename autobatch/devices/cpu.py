"""The CPU and the machine's main memory."""

from __future__ import annotations

import gc
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from autobatch.devices.base import CpuUse, Mark, PeakReading
from autobatch.devices.cgroup import read_cgroup_limits
from autobatch.records import MemoryBound, Precision

_ON_LINUX = sys.platform == "linux"
# The kernel's limit counts address space that is never touched, the budget does not: what it
# lets through is still compared with the budget, by the peak.
_UNTOUCHED_FRACTION = 0.1
if _ON_LINUX:
    import resource

    from autobatch.devices import linux


class CpuDevice:
    """Training on the CPU. Peaks cover the whole process, libraries included.

    Args:
        uses_kernel: Whether to rely on what Linux' kernel tells and enforces; without it peaks
            are lower bounds, and a budget is not enforced but watched from outside.
    """

    name = "cpu"
    # glibc keeps freed chunks of up to 32 MiB: growth between two sizes was seen at 0.4 times
    # to 2.5 times of what the next doubling added.
    peak_uncertainty_fraction = 0.6

    def __init__(self, *, uses_kernel: bool = _ON_LINUX) -> None:
        self.can_fork = self._uses_kernel = uses_kernel
        self._process = psutil.Process()
        self._kernel_tells_peak = False

    def hardware_name(self) -> str:
        """The CPU's model name."""
        if _ON_LINUX:
            for line in Path("/proc/cpuinfo").read_text().splitlines():
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
        return platform.processor() or platform.machine()

    def driver_version(self) -> str | None:
        """CPUs have no driver."""
        return None

    def unsupported_reason(self, precision: Precision) -> str | None:
        """TF32 is a format of NVIDIA's tensor cores."""
        if precision is Precision.TF32:
            return "tf32 is a format of NVIDIA GPUs"
        return None

    def bounds(self, memory_limit_bytes: int | None) -> tuple[MemoryBound, ...]:
        """Physical memory, cgroups, resource limits and the user's own limit.

        What this process holds already is available to it.
        """
        own_bytes = self._process.memory_info().rss
        machine = psutil.virtual_memory()
        bounds = [MemoryBound.of("physical memory", machine.total, machine.available + own_bytes)]
        for limit in read_cgroup_limits():
            free_bytes = limit.limit_bytes - limit.used_bytes
            kind = "memory.high" if limit.name == "memory.high" else "memory limit"
            name = f"{kind} of cgroup {limit.path}"
            bounds.append(MemoryBound.of(name, limit.limit_bytes, free_bytes + own_bytes))
        if self._uses_kernel:
            bounds += _resource_bounds(own_bytes)
        if memory_limit_bytes is not None:
            bounds.append(MemoryBound.of_user(memory_limit_bytes))
        return tuple(bounds)

    def synchronize(self) -> None:
        """Work on the CPU is done when its call returns."""

    def mark(self) -> Mark | None:
        """There is no queue."""
        return None

    def release(self) -> None:
        """Collect garbage and give freed memory back to the kernel."""
        gc.collect()
        if self._uses_kernel:
            linux.return_freed_memory()

    def reset_peak(self) -> None:
        """Begin a new measurement where the kernel keeps a high-water mark."""
        self._kernel_tells_peak = self._uses_kernel and linux.reset_peak()

    def read_peak(self) -> PeakReading:
        """The kernel's high-water mark of resident memory, or the present use without it."""
        if self._kernel_tells_peak:
            return PeakReading(peak_bytes=linux.read_status_bytes()["VmHWM"])
        return PeakReading(peak_bytes=self._process.memory_info().rss, is_lower_bound=True)

    @contextmanager
    def enforce(self, budget_bytes: int) -> Iterator[bool]:
        """Limit this process's private memory to the budget, where the system can."""
        if not self._uses_kernel:
            yield False
            return
        room_bytes = round(budget_bytes * (1 + _UNTOUCHED_FRACTION))
        growth_bytes = room_bytes - linux.read_status_bytes()["VmRSS"]
        with linux.data_limit(growth_bytes) as is_enforced:
            yield is_enforced

    def count_alloc_retries(self) -> int | None:
        """Memory of the host is not cached."""
        return None

    def cpu_use(self) -> CpuUse | None:
        """The kernel's accounts of this process."""
        if not self._uses_kernel:
            return None
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return CpuUse(
            minor_faults=usage.ru_minflt,
            user_time_s=usage.ru_utime,
            kernel_time_s=usage.ru_stime,
            machine_busy_s=_machine_busy_s(),
        )


def count_usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _machine_busy_s() -> float | None:
    if count_usable_cores() != psutil.cpu_count():
        return None
    times = psutil.cpu_times()
    waiting_s = times.idle + getattr(times, "iowait", 0.0)
    # A guest's time is counted among the user's.
    counted_twice_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - waiting_s - counted_twice_s)


def _resource_bounds(own_bytes: int) -> list[MemoryBound]:
    status = linux.read_status_bytes()
    bounds = []
    for name, kind, used_bytes in (
        ("RLIMIT_AS (ulimit -v)", resource.RLIMIT_AS, status["VmSize"]),
        ("RLIMIT_DATA (ulimit -d)", resource.RLIMIT_DATA, status["VmData"]),
    ):
        soft, _ = resource.getrlimit(kind)
        if soft != resource.RLIM_INFINITY:
            bounds.append(MemoryBound.of(name, soft, soft - used_bytes + own_bytes))
    return bounds

"""The CPU: which limits bind, and what its accounts say."""

from __future__ import annotations

import sys
from collections.abc import Callable

import psutil
import pytest

from autobatch.devices.cpu import CpuDevice, count_usable_cores
from autobatch.records import MemoryBound, MemoryBudget, Precision

GIB = 2**30

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs setrlimit as Linux has it")


def _bound(name: str, capacity: int, available: int) -> MemoryBound:
    return MemoryBound(name=name, capacity_bytes=capacity, available_bytes=available)


def test_a_budget_is_what_is_available_less_the_headroom() -> None:
    bounds = (_bound("physical memory", 10 * GIB, 7 * GIB),)
    budget = MemoryBudget.from_bounds(bounds, headroom_fraction=0.1)
    assert budget.budget_bytes == 6 * GIB
    assert budget.used_by_others_bytes == 3 * GIB
    assert budget.capacity_bytes == 10 * GIB
    assert budget.headroom_fraction == 0.1


def test_the_headroom_is_a_share_of_the_capacity_not_of_what_is_left() -> None:
    bounds = (_bound("physical memory", 100 * GIB, 20 * GIB),)
    assert MemoryBudget.from_bounds(bounds, headroom_fraction=0.1).budget_bytes == 10 * GIB


def test_the_limit_that_leaves_least_binds() -> None:
    bounds = (
        _bound("physical memory", 64 * GIB, 60 * GIB),
        _bound("group", 8 * GIB, 8 * GIB),
        _bound("memory limit", 16 * GIB, 16 * GIB),
    )
    budget = MemoryBudget.from_bounds(bounds, headroom_fraction=0.0)
    assert (budget.bound_by, budget.budget_bytes) == ("group", 8 * GIB)


def test_a_large_limit_with_little_left_binds_before_a_small_one() -> None:
    bounds = (_bound("physical memory", 64 * GIB, 2 * GIB), _bound("group", 4 * GIB, 4 * GIB))
    budget = MemoryBudget.from_bounds(bounds, headroom_fraction=0.0)
    assert (budget.bound_by, budget.budget_bytes) == ("physical memory", 2 * GIB)


def test_a_budget_is_never_below_zero() -> None:
    bounds = (_bound("physical memory", 64 * GIB, GIB),)
    assert MemoryBudget.from_bounds(bounds, headroom_fraction=0.5).budget_bytes == 0


def test_physical_memory_is_the_first_bound() -> None:
    bound = CpuDevice().bounds(None)[0]
    assert bound.name == "physical memory"
    assert bound.capacity_bytes == psutil.virtual_memory().total


def test_the_memory_limit_binds_where_it_is_the_least() -> None:
    bounds = CpuDevice().bounds(300 * 2**20)
    budget = MemoryBudget.from_bounds(bounds, headroom_fraction=0.1)
    assert budget.bound_by == "memory limit"
    assert budget.budget_bytes == 270 * 2**20
    assert budget.used_by_others_bytes == 0


@needs_linux
@pytest.mark.parametrize(
    ("limit", "name", "used"),
    [
        ("RLIMIT_DATA", "RLIMIT_DATA (ulimit -d)", "VmData"),
        ("RLIMIT_AS", "RLIMIT_AS (ulimit -v)", "VmSize"),
    ],
)
def test_a_resource_limit_is_a_bound(
    limit: str, name: str, used: str, run_python: Callable[[str], str]
) -> None:
    printed = run_python(
        f"""
        import resource
        from autobatch.devices import linux
        from autobatch.devices.cpu import CpuDevice
        device = CpuDevice()
        assert {name!r} not in [bound.name for bound in device.bounds(None)]
        before = linux.read_status_bytes()
        hard = resource.getrlimit(resource.{limit})[1]
        soft = before[{used!r}] + 512 * 2**20
        resource.setrlimit(resource.{limit}, (soft, hard))
        bound = {{bound.name: bound for bound in device.bounds(None)}}[{name!r}]
        own = before["VmRSS"]
        print(bound.capacity_bytes == soft, (bound.available_bytes - own) / 2**20)
        """
    )
    is_capacity, free = printed.split()
    assert is_capacity == "True"
    assert float(free) == pytest.approx(512, abs=8)


@needs_linux
def test_no_more_is_available_than_a_resource_limit_allows(
    run_python: Callable[[str], str],
) -> None:
    printed = run_python(
        """
        import resource
        from autobatch.devices.cpu import CpuDevice
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (2**20, hard))  # far below what it has already
        bound = CpuDevice().bounds(None)[-1]
        print(bound.capacity_bytes, 0 <= bound.available_bytes <= bound.capacity_bytes)
        """
    )
    assert printed.split() == [str(2**20), "True"]


def test_tf32_is_refused_and_the_autocast_formats_are_not() -> None:
    device = CpuDevice()
    assert "NVIDIA" in (device.unsupported_reason(Precision.TF32) or "")
    assert device.unsupported_reason(Precision.BF16) is None
    assert device.unsupported_reason(Precision.FP16) is None


def test_a_processor_has_no_driver() -> None:
    assert CpuDevice().driver_version() is None


def test_usable_cores_are_those_of_the_affinity_mask(run_python: Callable[[str], str]) -> None:
    assert count_usable_cores() >= 1
    if not hasattr(__import__("os"), "sched_setaffinity"):
        return
    printed = run_python(
        """
        import os
        from autobatch.devices.cpu import count_usable_cores
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        print(count_usable_cores())
        """
    )
    assert printed == "1"

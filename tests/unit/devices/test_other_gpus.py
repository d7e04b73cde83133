"""Apple's and Intel's GPUs, through stand-ins for PyTorch's modules."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from autobatch.devices.gpu_report import report_mps, report_xpu
from autobatch.devices.mps import MpsDevice
from autobatch.devices.xpu import XpuDevice
from autobatch.errors import DeviceUnavailableError
from autobatch.records import MemoryBudget, Precision, Unknown

GIB = 2**30


class FakeMps:
    """An allocator that keeps what it was given until ``empty_cache``."""

    def __init__(self) -> None:
        self.driver_bytes = GIB
        self.fractions: list[float] = []

    def driver_allocated_memory(self) -> int:
        return self.driver_bytes

    def recommended_max_memory(self) -> int:
        return 16 * GIB

    def synchronize(self) -> None:
        pass

    def empty_cache(self) -> None:
        self.driver_bytes = 0

    def set_per_process_memory_fraction(self, fraction: float) -> None:
        self.fractions.append(fraction)


@pytest.fixture
def mps() -> FakeMps:
    return FakeMps()


@pytest.fixture
def apple(mps: FakeMps) -> MpsDevice:
    backend = SimpleNamespace(is_available=lambda: True, get_name=lambda: "Apple M2")
    return MpsDevice(mps, backend)


def test_without_a_metal_gpu_there_is_an_error_that_says_what_to_try() -> None:
    with pytest.raises(DeviceUnavailableError, match="mps") as caught:
        MpsDevice(backend=SimpleNamespace(is_available=lambda: False))
    assert "`device=cpu`" in caught.value.hint


def test_the_peak_is_the_highest_use_at_the_end_of_a_step_and_says_so(apple: Any, mps: Any) -> None:
    apple.reset_peak()
    for num_bytes in (2 * GIB, 5 * GIB, 3 * GIB):
        mps.driver_bytes = num_bytes
        apple.synchronize()
    reading = apple.read_peak()
    assert reading.peak_bytes == 5 * GIB
    assert reading.is_lower_bound


def test_a_reset_forgets_the_highest_use(apple: Any, mps: Any) -> None:
    mps.driver_bytes = 9 * GIB
    apple.synchronize()
    apple.release()
    apple.reset_peak()
    assert apple.read_peak().peak_bytes == 0


def test_the_budget_is_a_share_of_what_metal_recommends(apple: Any, mps: Any) -> None:
    with apple.enforce(4 * GIB) as is_enforced:
        assert is_enforced
        assert mps.fractions == [0.25]
    assert mps.fractions == [0.25, 1.7]


def test_a_budget_of_nothing_is_not_taken_for_no_cap(apple: Any, mps: Any) -> None:
    with apple.enforce(0):
        assert 0 < mps.fractions[0] < 1e-3


def test_a_cap_of_the_users_own_comes_back(
    apple: Any, mps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_MPS_HIGH_WATERMARK_RATIO", "0.9")
    with apple.enforce(GIB):
        pass
    assert mps.fractions[-1] == 0.9


def test_the_machines_memory_bounds_metals_too(apple: Any) -> None:
    names = [bound.name for bound in apple.bounds(123)]
    assert names == ["working set that Metal recommends", "physical memory", "memory limit"]


def test_metal_has_no_tf32(apple: Any) -> None:
    assert "NVIDIA" in apple.unsupported_reason(Precision.TF32)
    assert apple.unsupported_reason(Precision.BF16) is None


def test_what_metal_does_not_tell_has_a_reason(apple: Any) -> None:
    report = report_mps(0.1, apple)
    assert report.hardware_name == "Apple M2"
    assert report.free_bytes <= psutil.virtual_memory().total  # type: ignore[operator]
    assert report.gpu is not None
    assert report.gpu.pcie_width == Unknown(reason="Metal does not tell")
    assert isinstance(report.budget, MemoryBudget)


class FakeXpu:
    """One Intel GPU of 16 GiB, 2 of them used by others."""

    def __init__(self, *, counts_free: bool = True) -> None:
        self.reserved = 0
        self.highest = 0
        self.counts_free = counts_free
        self.fractions: list[float] = []

    def is_available(self) -> bool:
        return True

    def device_count(self) -> int:
        return 1

    def set_device(self, device: int) -> None:
        assert device == 0

    def get_device_properties(self, device: int) -> Any:
        return SimpleNamespace(
            name="Intel Arc",
            driver_version="1.6.3",
            total_memory=16 * GIB,
            has_fp16=True,
            has_bfloat16_conversions=False,
        )

    def get_device_name(self, device: int) -> str:
        return "Intel Arc"

    def is_bf16_supported(self) -> bool:
        return True

    def mem_get_info(self, device: int) -> tuple[int, int]:
        if not self.counts_free:
            raise RuntimeError("The device doesn't support querying the available free memory")
        return 14 * GIB - self.reserved, 16 * GIB

    def memory_reserved(self, device: int) -> int:
        return self.reserved

    def max_memory_reserved(self, device: int) -> int:
        return self.highest

    def max_memory_allocated(self, device: int) -> int:
        return self.highest // 2

    def reset_peak_memory_stats(self, device: int) -> None:
        self.highest = self.reserved

    def set_per_process_memory_fraction(self, fraction: float, device: int) -> None:
        self.fractions.append(fraction)

    def synchronize(self, device: int) -> None:
        pass

    def empty_cache(self) -> None:
        self.reserved = 0


def test_what_others_hold_of_an_intel_gpu_is_not_to_be_had() -> None:
    bound, user = XpuDevice(0, FakeXpu()).bounds(GIB)
    assert (bound.capacity_bytes, bound.available_bytes) == (16 * GIB, 14 * GIB)
    assert user.name == "memory limit"


def test_the_peak_of_an_intel_gpu_is_what_the_allocator_reserved() -> None:
    xpu = FakeXpu()
    device = XpuDevice(0, xpu)
    device.reset_peak()
    xpu.reserved = xpu.highest = 3 * GIB
    reading = device.read_peak()
    assert (reading.peak_bytes, reading.allocated_bytes) == (3 * GIB, 3 * GIB // 2)
    assert not reading.is_lower_bound


def test_the_budget_of_an_intel_gpu_is_a_share_of_its_memory() -> None:
    xpu = FakeXpu()
    with XpuDevice(0, xpu).enforce(4 * GIB) as is_enforced:
        assert is_enforced
    assert xpu.fractions == [0.25, 1.0]


def test_an_older_pytorch_enforces_nothing_and_says_so() -> None:
    class OlderXpu(FakeXpu):
        def __getattribute__(self, name: str) -> Any:
            if name == "set_per_process_memory_fraction":
                raise AttributeError(name)
            return super().__getattribute__(name)

    with XpuDevice(0, OlderXpu()).enforce(GIB) as is_enforced:
        assert not is_enforced


def test_a_driver_that_does_not_count_what_is_free_still_gives_bounds() -> None:
    xpu = FakeXpu(counts_free=False)
    assert XpuDevice(0, xpu).bounds(None)[0].available_bytes == 16 * GIB
    assert isinstance(report_xpu(0, 0.1, xpu).free_bytes, Unknown)


def test_an_intel_gpu_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DeviceUnavailableError, match=r"xpu:3.*there are 1"):
        XpuDevice(3, FakeXpu())


def test_an_intel_gpu_reports_what_it_tells() -> None:
    report = report_xpu(0, 0.1, FakeXpu())
    assert (report.name, report.hardware_name) == ("xpu:0", "Intel Arc")
    assert report.driver_version == "1.6.3"
    assert {each.name: each.is_supported for each in report.precisions} == {
        "fp32": True,
        "tf32": Unknown(reason="this PyTorch does not tell"),
        "bf16": False,
        "fp16": True,
        "fp8": Unknown(reason="this PyTorch does not tell"),
    }

"""NVIDIA's GPUs, on a stand-in for ``torch.cuda`` over a model of its allocator."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
import torch
from fixtures.cuda import GIB, MIB, FakeCuda, nvml_answers
from fixtures.nvml import FakeNvml

from autobatch.devices.cuda import CudaDevice
from autobatch.devices.nvml import Nvml, NvmlGpu
from autobatch.errors import DeviceUnavailableError
from autobatch.records import MemoryBudget, Precision, Unknown

NO_NVML = Unknown(reason="a stand-in")
OTHERS = {7: 3 * GIB}


def open_device(cuda: FakeCuda, index: int = 0) -> CudaDevice:
    return CudaDevice(index, cuda, NO_NVML)


def test_the_stand_in_takes_what_the_real_functions_take() -> None:
    for name, method in inspect.getmembers(FakeCuda, inspect.isfunction):
        if name.startswith("_") or name == "allocate":
            continue
        real = inspect.signature(getattr(torch.cuda, name))
        given = [each for each in inspect.signature(method).parameters if each != "self"]
        real.bind(**dict.fromkeys(given))


def test_without_such_a_gpu_there_is_an_error_that_says_what_to_try() -> None:
    with pytest.raises(DeviceUnavailableError, match=r"cuda:2.*there are 2") as caught:
        open_device(FakeCuda(), 2)
    assert "`device=cuda:0`" in caught.value.hint


@pytest.mark.parametrize("index", [0, 1])
def test_the_context_of_this_process_is_not_taken_for_others(index: int) -> None:
    cuda = FakeCuda(others_bytes=sum(OTHERS.values()))
    # In a container the driver counts by the host's numbers: ours is the one that came.
    gpu = NvmlGpu(Nvml(FakeNvml(**nvml_answers(cuda, OTHERS, own_pid=4_000_000))), "gpu")
    device = CudaDevice(index, cuda, gpu)
    (bound,) = device.bounds(None)
    assert bound.available_bytes == 77 * GIB
    assert device.read_peak().peak_bytes == 500 * MIB


def test_a_driver_that_lists_no_process_is_read_before_the_context_too() -> None:
    cuda = FakeCuda(others_bytes=3 * GIB)
    answers = nvml_answers(cuda, {}, own_pid=0)
    answers["nvmlDeviceGetComputeRunningProcesses_v3"] = []
    device = CudaDevice(1, cuda, NvmlGpu(Nvml(FakeNvml(**answers)), "gpu"))
    assert device.bounds(None)[0].available_bytes == 77 * GIB


def test_a_fraction_of_the_users_own_bounds_the_memory_and_comes_back() -> None:
    cuda = FakeCuda()
    device = open_device(cuda)
    cuda.set_per_process_memory_fraction(0.25, 0)
    budget = MemoryBudget.from_bounds(device.bounds(None), headroom_fraction=0.0)
    assert budget.bound_by == "per-process memory fraction"
    # It caps the allocator alone.
    overhead_bytes = device.read_peak().peak_bytes or 0
    assert budget.budget_bytes == 20 * GIB + overhead_bytes
    with device.enforce(budget.budget_bytes):
        assert cuda.fraction == 0.25
    with device.enforce(10 * GIB):
        assert cuda.fraction == 0.125
    assert cuda.fraction == 0.25


def test_a_pytorch_that_does_not_tell_the_fraction_is_given_all_of_it_back() -> None:
    class Older(FakeCuda):
        def __getattribute__(self, name: str) -> object:
            if name == "get_per_process_memory_fraction":
                raise AttributeError(name)
            return super().__getattribute__(name)

    cuda = Older()
    device = open_device(cuda)
    assert len(device.bounds(None)) == 1
    with device.enforce(GIB):
        assert cuda.fraction < 0.02
    assert cuda.fraction == 1.0


def test_emulated_bf16_is_no_support() -> None:
    assert open_device(FakeCuda()).unsupported_reason(Precision.BF16) is None
    older = open_device(FakeCuda(capability=(7, 5)))
    assert "no bf16" in (older.unsupported_reason(Precision.BF16) or "")
    assert "no tf32" in (older.unsupported_reason(Precision.TF32) or "")


def test_cudas_own_pool_is_held_against_the_budget_by_what_is_used() -> None:
    cuda = FakeCuda()
    device = open_device(cuda)
    device.reset_peak()
    for _ in range(3):  # 3 GiB at once, then 1 GiB of them
        held = [cuda.allocate(GIB) for _ in range(3)]
        del held[1:]
    reading = device.read_peak()
    cuda.backend = "cudaMallocAsync"
    cuda.allocator.statistics.peak_reserved_bytes += 5 * GIB  # the pool keeps what was freed
    used = device.read_peak()
    assert used.peak_bytes == reading.allocated_bytes
    assert used == replace(
        reading, peak_bytes=used.peak_bytes, reserved_bytes=(reading.reserved_bytes or 0) + 5 * GIB
    )

"""An NVML that answers as it is told, through the names and signatures of the real binding."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from autobatch.devices.nvml import Nvml, NvmlGpu

GIB = 2**30


class FakeNvml:
    """Stands in for the module ``pynvml``.

    A name that the real module lacks is an ``AttributeError``, a call with other arguments than
    the real function takes is a ``TypeError``, and a function without an answer is "not
    supported", as on a GPU that does not tell.
    """

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.missing: set[str] = set()
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name in self.missing:
            raise AttributeError(name)
        real = getattr(pynvml, name)
        if not inspect.isfunction(real):
            return real

        def call(*arguments: Any) -> Any:
            inspect.signature(real).bind(*arguments)
            self.calls.append(name)
            answer = self.answers.get(name, error("NOT_SUPPORTED"))
            if isinstance(answer, Exception):
                raise answer
            return answer(*arguments) if callable(answer) else answer

        return call


def error(code: str) -> Exception:
    """An error of the binding by NVML's name for it, such as ``NO_PERMISSION``."""
    made: Exception = pynvml.NVMLError(getattr(pynvml, f"NVML_ERROR_{code}"))
    return made


def process(pid: int, used_bytes: int | None) -> SimpleNamespace:
    return SimpleNamespace(pid=pid, usedGpuMemory=used_bytes)


def memory(_handle: Any, version: int | None = None) -> SimpleNamespace:
    """80 GiB, 1 of them the driver's and 59 free, told as each version tells it."""
    if version is None:
        return SimpleNamespace(total=80 * GIB, free=59 * GIB, used=21 * GIB)
    return SimpleNamespace(total=80 * GIB, reserved=GIB, free=59 * GIB, used=20 * GIB)


def normal_answers() -> dict[str, Any]:
    """What a data centre GPU at work says."""
    return {
        "nvmlInit": None,
        "nvmlSystemGetDriverVersion": "570.86.15",
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetHandleByIndex": lambda index: f"gpu{index}",
        "nvmlDeviceGetHandleByUUID": lambda uuid: f"handle of {uuid}",
        "nvmlDeviceGetName": "NVIDIA H100",
        "nvmlDeviceGetUUID": "GPU-1111-2222",
        "nvmlDeviceGetMigMode": [0, 0],
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlDeviceGetCudaComputeCapability": (9, 0),
        "nvmlDeviceGetCurrentClocksEventReasons": 0x4,
        "nvmlDeviceGetEccMode": [1, 1],
        "nvmlDeviceGetTotalEccErrors": lambda _, kind, counter: {0: 3, 1: 0}[kind],
        "nvmlDeviceGetCurrPcieLinkWidth": 8,
        "nvmlDeviceGetComputeRunningProcesses_v3": [process(4_000_001, 20 * GIB)],
        "nvmlDeviceGetGraphicsRunningProcesses_v3": [],
    }


@pytest.fixture
def module() -> FakeNvml:
    """The binding, with a normal GPU behind it."""
    return FakeNvml(**normal_answers())


@pytest.fixture
def silent() -> FakeNvml:
    """The binding, with a GPU behind it that supports nothing."""
    return FakeNvml()


@pytest.fixture
def gpu(module: FakeNvml) -> NvmlGpu:
    return NvmlGpu(Nvml(module), "gpu0")


@pytest.fixture
def silent_gpu(silent: FakeNvml) -> NvmlGpu:
    return NvmlGpu(Nvml(silent), "gpu0")


@pytest.fixture
def nvml_error() -> Any:
    """Makes an error by NVML's name for it."""
    return error


@pytest.fixture
def nvml_process() -> Any:
    """Makes an entry of a list of processes."""
    return process

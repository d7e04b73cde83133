"""An NVML that answers as it is told, with a GPU behind it."""

from __future__ import annotations

from typing import Any

import pytest
from fixtures.nvml import FakeNvml, error, normal_answers, process

from autobatch.devices.nvml import Nvml, NvmlGpu


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

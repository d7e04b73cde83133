"""Starting NVML, and what becomes of its refusals."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.devices.nvml import Nvml, NvmlGpu, start_nvml
from autobatch.devices.nvml.session import open_nvml
from autobatch.records import Unknown

CODES = (
    "UNINITIALIZED",
    "NOT_SUPPORTED",
    "NO_PERMISSION",
    "NOT_FOUND",
    "DRIVER_NOT_LOADED",
    "TIMEOUT",
    "LIBRARY_NOT_FOUND",
    "FUNCTION_NOT_FOUND",
    "GPU_IS_LOST",
    "RESET_REQUIRED",
    "LIB_RM_VERSION_MISMATCH",
    "UNKNOWN",
)


def _none_installed(distribution: str) -> str | None:
    return None


def test_a_started_nvml_tells_the_drivers_version(module: Any) -> None:
    nvml = start_nvml(lambda: module, _none_installed)
    assert isinstance(nvml, Nvml)
    assert nvml.driver_version() == "570.86.15"
    assert module.calls[0] == "nvmlInit"


@pytest.mark.parametrize("code", CODES)
def test_an_error_at_the_start_is_a_reason(code: str, module: Any, nvml_error: Any) -> None:
    module.answers["nvmlInit"] = nvml_error(code)
    answer = start_nvml(lambda: module, _none_installed)
    assert isinstance(answer, Unknown)
    assert len(answer.reason.split()) > 2


@pytest.mark.parametrize("code", CODES)
def test_an_error_of_a_function_is_a_reason(code: str, module: Any, nvml_error: Any) -> None:
    module.answers["nvmlDeviceGetPowerUsage"] = nvml_error(code)
    answer = NvmlGpu(Nvml(module), "gpu0").ask("nvmlDeviceGetPowerUsage")
    assert isinstance(answer, Unknown)
    assert len(answer.reason.split()) > 2


def test_no_driver_is_named_as_such(module: Any, nvml_error: Any) -> None:
    module.answers["nvmlInit"] = nvml_error("LIBRARY_NOT_FOUND")
    answer = start_nvml(lambda: module, _none_installed)
    assert isinstance(answer, Unknown) and "no NVIDIA driver" in answer.reason


def test_no_binding_is_a_reason_that_says_what_to_install() -> None:
    def load() -> Any:
        raise ModuleNotFoundError("No module named 'pynvml'")

    answer = start_nvml(load, _none_installed)
    assert isinstance(answer, Unknown) and "pip install nvidia-ml-py" in answer.reason


@pytest.mark.parametrize("version", ["8.0.4", "11.5.3"])
def test_the_unofficial_package_is_named_and_not_loaded(version: str) -> None:
    def load() -> Any:
        raise AssertionError("it must not be loaded")

    answer = start_nvml(load, {"pynvml": version}.get)
    assert isinstance(answer, Unknown)
    assert f"pynvml {version}" in answer.reason
    assert "pip uninstall pynvml" in answer.reason
    assert "nvidia-ml-py" in answer.reason


def test_a_later_unofficial_package_only_brings_the_official_one(module: Any) -> None:
    assert isinstance(start_nvml(lambda: module, {"pynvml": "13.0.1"}.get), Nvml)


def test_a_function_that_the_binding_lacks_is_a_reason(module: Any) -> None:
    module.missing.add("nvmlDeviceGetPowerUsage")
    answer = NvmlGpu(Nvml(module), "gpu0").ask("nvmlDeviceGetPowerUsage")
    assert isinstance(answer, Unknown) and "nvidia-ml-py is too old" in answer.reason


def test_of_two_functions_the_one_that_the_driver_has_answers(module: Any, nvml_error: Any) -> None:
    module.answers["nvmlDeviceGetTemperatureV"] = nvml_error("FUNCTION_NOT_FOUND")
    module.answers["nvmlDeviceGetTemperature"] = 51
    gpu = NvmlGpu(Nvml(module), "gpu0")
    both = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature")
    assert gpu.ask_first(both, 0) == 51


def test_a_function_that_is_refused_is_not_asked_for_in_another_way(
    module: Any, nvml_error: Any
) -> None:
    module.answers["nvmlDeviceGetTemperatureV"] = nvml_error("NO_PERMISSION")
    gpu = NvmlGpu(Nvml(module), "gpu0")
    both = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature")
    assert "administrators" in gpu.ask_first(both, 0).reason
    assert module.calls == ["nvmlDeviceGetTemperatureV"]


def test_an_error_that_is_not_nvmls_passes_through(module: Any) -> None:
    module.answers["nvmlDeviceGetPowerUsage"] = ZeroDivisionError("a mistake of ours")
    with pytest.raises(ZeroDivisionError):
        NvmlGpu(Nvml(module), "gpu0").ask("nvmlDeviceGetPowerUsage")


def test_this_machines_nvml_starts_or_says_why_not() -> None:
    nvml = open_nvml()
    assert nvml is open_nvml()
    assert isinstance(nvml, Nvml) or nvml.reason

"""NVML started once, and asked so that every refusal comes back as a reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from autobatch.records import Unknown

_OLD_BINDING = Unknown(reason="the installed nvidia-ml-py is too old to ask for it")
_OLD_DRIVER = Unknown(reason="the NVIDIA driver is too old to tell")
_REASONS = {
    "NVMLError_NotSupported": "this GPU, or this driver for it, does not tell",
    "NVMLError_NoPermission": "the driver tells it to administrators only",
    "NVMLError_FunctionNotFound": _OLD_DRIVER.reason,
    "NVMLError_LibraryNotFound": "there is no libnvidia-ml, so no NVIDIA driver is installed",
    "NVMLError_DriverNotLoaded": "the NVIDIA driver is installed and not loaded",
    "NVMLError_LibRmVersionMismatch": (
        "the NVIDIA driver was updated while an older one is loaded; restart the machine"
    ),
    "NVMLError_GpuIsLost": "the GPU is lost: the driver cannot reach it; restart the machine",
    "NVMLError_ResetRequired": "the GPU needs a reset",
    "NVMLError_NotFound": "NVML knows no such GPU",
}
# From 12 on the distribution ``pynvml`` ships no binding and depends on ``nvidia-ml-py``.
_FIRST_HARMLESS_PYNVML = 12


class Nvml:
    """A started NVML.

    Args:
        module: ``pynvml``, or a stand-in with the same names.
    """

    def __init__(self, module: Any) -> None:
        self._module = module

    def call(self, function: str, *arguments: Any) -> Any:
        """Call a function by its name.

        Returns:
            What it returns, or an ``Unknown`` where NVML will not answer.
        """
        ask = getattr(self._module, function, None)
        if ask is None:
            return _OLD_BINDING
        try:
            return ask(*arguments)
        except self._module.NVMLError as error:
            return explain(error)

    def constant(self, name: str) -> Any:
        """A constant of the binding; ``None`` if it is too old to have it."""
        return getattr(self._module, name, None)

    def driver_version(self) -> str | Unknown:
        """The driver's version, such as ``570.86.15``."""
        version = self.call("nvmlSystemGetDriverVersion")
        return version if isinstance(version, Unknown) else str(version)


@dataclass(frozen=True, slots=True)
class NvmlGpu:
    """A GPU, or a slice of one, to ask.

    Attributes:
        nvml: Where to ask.
        handle: NVML's handle.
        is_mig_slice: Whether the handle is of a MIG slice.
    """

    nvml: Nvml
    handle: Any
    is_mig_slice: bool = False

    def ask(self, function: str, *arguments: Any) -> Any:
        """Call a function whose first argument is the handle."""
        return self.nvml.call(function, self.handle, *arguments)

    def ask_first(self, functions: tuple[str, ...], *arguments: Any) -> Any:
        """The answer of the first function that binding and driver both have."""
        answer: Any = _OLD_BINDING
        for function in functions:
            answer = self.ask(function, *arguments)
            if answer not in (_OLD_BINDING, _OLD_DRIVER):
                break
        return answer

    def whole_gpu(self) -> NvmlGpu:
        """The GPU that a slice is part of; a whole GPU itself."""
        if not self.is_mig_slice:
            return self
        handle = self.ask("nvmlDeviceGetDeviceHandleFromMigDeviceHandle")
        return self if isinstance(handle, Unknown) else NvmlGpu(self.nvml, handle)


@cache
def open_nvml() -> Nvml | Unknown:
    """This process's NVML, started at the first call."""
    return start_nvml()


def _import_binding() -> Any:
    import pynvml

    return pynvml


def _installed_version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def start_nvml(
    load: Callable[[], Any] = _import_binding,
    installed_version: Callable[[str], str | None] = _installed_version,
) -> Nvml | Unknown:
    """Start NVML, or say why that cannot be.

    Args:
        load: Imports the binding.
        installed_version: Version of an installed distribution, ``None`` if it is not.
    """
    unofficial = installed_version("pynvml")
    if unofficial is not None and _major(unofficial) < _FIRST_HARMLESS_PYNVML:
        # It misreads the process lists of recent drivers.
        return Unknown(
            reason=f"the unofficial package pynvml {unofficial} hides NVIDIA's own binding; "
            "pip uninstall pynvml, then pip install --force-reinstall nvidia-ml-py"
        )
    try:
        module = load()
    except ImportError:
        return Unknown(reason="its binding is not installed; pip install nvidia-ml-py")
    try:
        module.nvmlInit()
    except module.NVMLError as error:
        return explain(error)
    return Nvml(module)


def explain(error: Exception) -> Unknown:
    """An error of NVML as a reason."""
    reason = _REASONS.get(type(error).__name__)
    if reason is None:
        text = str(error)
        reason = f"NVML says {text.rstrip('.').lower()!r}" if text else "NVML does not say why"
    return Unknown(reason=reason)


def _major(version: str) -> int:
    first = version.partition(".")[0]
    return int(first) if first.isdigit() else 0

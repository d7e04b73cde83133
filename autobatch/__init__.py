"""Which batch size to train a PyTorch model with on this hardware, proved by having run it.

Importing this package loads neither PyTorch nor SciPy; names load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from autobatch._version import __version__

if TYPE_CHECKING:
    from autobatch.errors import (
        AutobatchError,
        BaselineError,
        CheckInterrupted,
        DeviceError,
        DeviceUnavailableError,
        NothingFitsError,
        ResultFormatError,
        SearchInterrupted,
        SettingsError,
        WorkerError,
        WorkloadError,
    )
    from autobatch.noise.running import GradientNoiseScale
    from autobatch.records import (
        Finding,
        Goal,
        LearningRateRule,
        NoiseScale,
        Outcome,
        Precision,
        Settings,
        StopReason,
        Trial,
    )
    from autobatch.training import TrainingFinding, find_batch_size
    from autobatch.workload.contract import Workload

_ERRORS = "autobatch.errors"
_RECORDS = "autobatch.records"
_HOMES = {
    "AutobatchError": _ERRORS,
    "BaselineError": _ERRORS,
    "CheckInterrupted": _ERRORS,
    "DeviceError": _ERRORS,
    "DeviceUnavailableError": _ERRORS,
    "Finding": _RECORDS,
    "Goal": _RECORDS,
    "GradientNoiseScale": "autobatch.noise.running",
    "LearningRateRule": _RECORDS,
    "NoiseScale": _RECORDS,
    "NothingFitsError": _ERRORS,
    "Outcome": _RECORDS,
    "Precision": _RECORDS,
    "ResultFormatError": _ERRORS,
    "SearchInterrupted": _ERRORS,
    "Settings": _RECORDS,
    "SettingsError": _ERRORS,
    "StopReason": _RECORDS,
    "TrainingFinding": "autobatch.training",
    "Trial": _RECORDS,
    "WorkerError": _ERRORS,
    "Workload": "autobatch.workload.contract",
    "WorkloadError": _ERRORS,
    "find_batch_size": "autobatch.training",
}

__all__ = [
    "AutobatchError",
    "BaselineError",
    "CheckInterrupted",
    "DeviceError",
    "DeviceUnavailableError",
    "Finding",
    "Goal",
    "GradientNoiseScale",
    "LearningRateRule",
    "NoiseScale",
    "NothingFitsError",
    "Outcome",
    "Precision",
    "ResultFormatError",
    "SearchInterrupted",
    "Settings",
    "SettingsError",
    "StopReason",
    "TrainingFinding",
    "Trial",
    "WorkerError",
    "Workload",
    "WorkloadError",
    "__version__",
    "find_batch_size",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return sorted(__all__)

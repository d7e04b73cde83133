"""Which batch size to train a PyTorch model with on this hardware, proved by having run it.

Importing this package loads neither PyTorch nor SciPy. Records and errors that are not listed
here are in ``autobatch.records`` and ``autobatch.errors``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from autobatch._version import __version__
from autobatch.errors import (
    AutobatchError,
    DeviceError,
    NothingFitsError,
    SearchInterrupted,
    SettingsError,
    WorkloadError,
)
from autobatch.records import Goal, Outcome, Precision, Trial
from autobatch.workload.contract import Workload

if TYPE_CHECKING:
    from autobatch.guard.guard import explain_oom
    from autobatch.noise.running import GradientNoiseScale
    from autobatch.training import TrainingFinding as Finding
    from autobatch.training import find_batch_size

__all__ = [
    "AutobatchError",
    "DeviceError",
    "Finding",
    "Goal",
    "GradientNoiseScale",
    "NothingFitsError",
    "Outcome",
    "Precision",
    "SearchInterrupted",
    "SettingsError",
    "Trial",
    "Workload",
    "WorkloadError",
    "__version__",
    "explain_oom",
    "find_batch_size",
]

# What needs PyTorch is loaded when it is first used.
_LATER = {
    "Finding": ("autobatch.training", "TrainingFinding"),
    "GradientNoiseScale": ("autobatch.noise.running", "GradientNoiseScale"),
    "explain_oom": ("autobatch.guard.guard", "explain_oom"),
    "find_batch_size": ("autobatch.training", "find_batch_size"),
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LATER[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)

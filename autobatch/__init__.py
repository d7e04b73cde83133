"""Which batch size to train a PyTorch model with on this hardware, proved by having run it.

Importing this package loads neither PyTorch nor SciPy. Records and errors that are not listed
here are in ``autobatch.records`` and ``autobatch.errors``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from autobatch._version import __version__

if TYPE_CHECKING:
    from autobatch.errors import (
        AutobatchError,
        DeviceError,
        NothingFitsError,
        SearchInterrupted,
        SettingsError,
        WorkloadError,
    )
    from autobatch.guard.guard import explain_oom
    from autobatch.noise.running import GradientNoiseScale
    from autobatch.planning.call import plan
    from autobatch.planning.records import Plan
    from autobatch.records import Goal, Outcome, Precision, Trial
    from autobatch.training import TrainingFinding as Finding
    from autobatch.training import find_batch_size
    from autobatch.tuning.call import tune
    from autobatch.tuning.records import Tuning
    from autobatch.workload.contract import Workload

__all__ = [
    "AutobatchError",
    "DeviceError",
    "Finding",
    "Goal",
    "GradientNoiseScale",
    "NothingFitsError",
    "Outcome",
    "Plan",
    "Precision",
    "SearchInterrupted",
    "SettingsError",
    "Trial",
    "Tuning",
    "Workload",
    "WorkloadError",
    "__version__",
    "explain_oom",
    "find_batch_size",
    "plan",
    "tune",
]

# Loaded when first used: some need PyTorch, and a command that is interrupted while it starts is
# in its own code by then.
_ERRORS, _RECORDS = "autobatch.errors", "autobatch.records"
_LATER = {
    "AutobatchError": (_ERRORS, "AutobatchError"),
    "DeviceError": (_ERRORS, "DeviceError"),
    "Finding": ("autobatch.training", "TrainingFinding"),
    "Goal": (_RECORDS, "Goal"),
    "GradientNoiseScale": ("autobatch.noise.running", "GradientNoiseScale"),
    "NothingFitsError": (_ERRORS, "NothingFitsError"),
    "Outcome": (_RECORDS, "Outcome"),
    "Plan": ("autobatch.planning.records", "Plan"),
    "Precision": (_RECORDS, "Precision"),
    "SearchInterrupted": (_ERRORS, "SearchInterrupted"),
    "SettingsError": (_ERRORS, "SettingsError"),
    "Trial": (_RECORDS, "Trial"),
    "Tuning": ("autobatch.tuning.records", "Tuning"),
    "Workload": ("autobatch.workload.contract", "Workload"),
    "WorkloadError": (_ERRORS, "WorkloadError"),
    "explain_oom": ("autobatch.guard.guard", "explain_oom"),
    "find_batch_size": ("autobatch.training", "find_batch_size"),
    "plan": ("autobatch.planning.call", "plan"),
    "tune": ("autobatch.tuning.call", "tune"),
}


def __getattr__(name: str) -> Any:
    if name in ("errors", "records"):
        return importlib.import_module(f"autobatch.{name}")
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LATER[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)

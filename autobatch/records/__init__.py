"""Frozen records and enums: everything that travels between the rooms of the package."""

from autobatch.records.check import (
    BUILTIN_REFERENCE,
    NO_REFERENCE,
    CheckReport,
    CheckSettings,
    HardwareLimits,
    TargetLimits,
    Verdict,
)
from autobatch.records.curves import MemoryCurve, ThroughputCurve
from autobatch.records.device_report import (
    ClockReport,
    CpuQuota,
    CpuReport,
    DeviceReport,
    DeviceUse,
    EccReport,
    GpuReport,
    MachineReport,
    PcieReport,
    PrecisionSupport,
    ProcessUse,
    Unknown,
)
from autobatch.records.enums import (
    Bottleneck,
    Goal,
    LearningRateRule,
    Outcome,
    Phase,
    Precision,
    Regime,
    RequirementName,
    Status,
    StopReason,
    WarningCode,
)
from autobatch.records.events import CheckObserver, Observer, SilentObserver
from autobatch.records.finding import Confirmation, Finding, FindingWarning, LengthBucket
from autobatch.records.measurement import FEWEST_ROUNDS, CheckRound, Measurement
from autobatch.records.memory import MemoryBound, MemoryBudget
from autobatch.records.recommendation import Recommendation
from autobatch.records.settings import Settings
from autobatch.records.trial import TimingRound, Trial
from autobatch.records.workload import Environment, LengthScan, WorkloadSummary

__all__ = [
    "BUILTIN_REFERENCE",
    "FEWEST_ROUNDS",
    "NO_REFERENCE",
    "Bottleneck",
    "CheckObserver",
    "CheckReport",
    "CheckRound",
    "CheckSettings",
    "ClockReport",
    "Confirmation",
    "CpuQuota",
    "CpuReport",
    "DeviceReport",
    "DeviceUse",
    "EccReport",
    "Environment",
    "Finding",
    "FindingWarning",
    "Goal",
    "GpuReport",
    "HardwareLimits",
    "LearningRateRule",
    "LengthBucket",
    "LengthScan",
    "MachineReport",
    "Measurement",
    "MemoryBound",
    "MemoryBudget",
    "MemoryCurve",
    "Observer",
    "Outcome",
    "PcieReport",
    "Phase",
    "Precision",
    "PrecisionSupport",
    "ProcessUse",
    "Recommendation",
    "Regime",
    "RequirementName",
    "Settings",
    "SilentObserver",
    "Status",
    "StopReason",
    "TargetLimits",
    "ThroughputCurve",
    "TimingRound",
    "Trial",
    "Unknown",
    "Verdict",
    "WarningCode",
    "WorkloadSummary",
]

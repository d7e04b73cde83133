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
from autobatch.records.comparison import (
    CompareObserver,
    CompareSettings,
    Comparison,
    EpochResult,
    RunOutcome,
    SilentCompareObserver,
    SizeSummary,
    TrainingRun,
    final_loss,
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
from autobatch.records.efficiency import Efficiency, EfficiencyScenario, Goodput
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
from autobatch.records.noise import NoiseScale
from autobatch.records.recipe import RecipeItem
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
    "CompareObserver",
    "CompareSettings",
    "Comparison",
    "Confirmation",
    "CpuQuota",
    "CpuReport",
    "DeviceReport",
    "DeviceUse",
    "EccReport",
    "Efficiency",
    "EfficiencyScenario",
    "Environment",
    "EpochResult",
    "Finding",
    "FindingWarning",
    "Goal",
    "Goodput",
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
    "NoiseScale",
    "Observer",
    "Outcome",
    "PcieReport",
    "Phase",
    "Precision",
    "PrecisionSupport",
    "ProcessUse",
    "RecipeItem",
    "Recommendation",
    "Regime",
    "RequirementName",
    "RunOutcome",
    "Settings",
    "SilentCompareObserver",
    "SilentObserver",
    "SizeSummary",
    "Status",
    "StopReason",
    "TargetLimits",
    "ThroughputCurve",
    "TimingRound",
    "TrainingRun",
    "Trial",
    "Unknown",
    "Verdict",
    "WarningCode",
    "WorkloadSummary",
    "final_loss",
]

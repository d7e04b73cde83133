"""Frozen records and enums: everything that travels between the rooms of the package."""

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
    StopReason,
    WarningCode,
)
from autobatch.records.events import Observer, SilentObserver
from autobatch.records.finding import Confirmation, Finding, FindingWarning
from autobatch.records.memory import MemoryBound, MemoryBudget
from autobatch.records.noise import NoiseScale
from autobatch.records.recipe import RecipeItem
from autobatch.records.recommendation import Recommendation
from autobatch.records.settings import Settings
from autobatch.records.trial import TimingRound, Trial
from autobatch.records.workload import Environment, WorkloadSummary

__all__ = [
    "Bottleneck",
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
    "LearningRateRule",
    "MachineReport",
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
    "RunOutcome",
    "Settings",
    "SilentCompareObserver",
    "SilentObserver",
    "SizeSummary",
    "StopReason",
    "ThroughputCurve",
    "TimingRound",
    "TrainingRun",
    "Trial",
    "Unknown",
    "WarningCode",
    "WorkloadSummary",
    "final_loss",
]

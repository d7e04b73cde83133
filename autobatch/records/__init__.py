"""Frozen records and enums: everything that travels between the rooms of the package."""

from autobatch.records.accumulation import AccumulationCheck
from autobatch.records.axis import BATCHES, Along, Axis
from autobatch.records.breakdown import MemoryAdvice, MemoryBreakdown, ModuleMemory
from autobatch.records.contention import Contention
from autobatch.records.curves import MemoryCurve, ThroughputCurve
from autobatch.records.decision import Confidence, Doubt, SizeEstimate, TimingDecision
from autobatch.records.device_report import (
    CpuQuota,
    CpuReport,
    DeviceReport,
    EccReport,
    GpuReport,
    MachineReport,
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
from autobatch.records.events import Observer, SilentObserver
from autobatch.records.finding import Confirmation, Finding, FindingWarning, LengthBucket
from autobatch.records.loading import LoaderChoice, LoaderSettings, LoaderTiming
from autobatch.records.memory import MemoryBound, MemoryBudget, MemoryForecast
from autobatch.records.noise import Efficiency, Goodput, NoiseScale
from autobatch.records.ranks import Exchange, GroupCost, RankReading, RankSize
from autobatch.records.recommendation import Recommendation
from autobatch.records.rehearsal import Rehearsal, RehearsedStage
from autobatch.records.settings import Settings
from autobatch.records.trial import TimingRound, Trial
from autobatch.records.workload import (
    Environment,
    LengthScan,
    UneditedCommand,
    WorkloadSummary,
)

__all__ = [
    "BATCHES",
    "AccumulationCheck",
    "Along",
    "Axis",
    "Bottleneck",
    "Confidence",
    "Confirmation",
    "Contention",
    "CpuQuota",
    "CpuReport",
    "DeviceReport",
    "Doubt",
    "EccReport",
    "Efficiency",
    "Environment",
    "Exchange",
    "Finding",
    "FindingWarning",
    "Goal",
    "Goodput",
    "GpuReport",
    "GroupCost",
    "LearningRateRule",
    "LengthBucket",
    "LengthScan",
    "LoaderChoice",
    "LoaderSettings",
    "LoaderTiming",
    "MachineReport",
    "MemoryAdvice",
    "MemoryBound",
    "MemoryBreakdown",
    "MemoryBudget",
    "MemoryCurve",
    "MemoryForecast",
    "ModuleMemory",
    "NoiseScale",
    "Observer",
    "Outcome",
    "Phase",
    "Precision",
    "PrecisionSupport",
    "ProcessUse",
    "RankReading",
    "RankSize",
    "Recommendation",
    "Regime",
    "Rehearsal",
    "RehearsedStage",
    "RequirementName",
    "Settings",
    "SilentObserver",
    "SizeEstimate",
    "Status",
    "StopReason",
    "ThroughputCurve",
    "TimingDecision",
    "TimingRound",
    "Trial",
    "UneditedCommand",
    "Unknown",
    "WarningCode",
    "WorkloadSummary",
]

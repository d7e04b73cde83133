"""What a check asks, what it measures, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from autobatch.check.predicted_memory import PredictedMemory
from autobatch.ranks.settings import RanksSettings
from autobatch.records.enums import RequirementName, Status
from autobatch.records.kinds import (
    BANDWIDTH,
    BYTES,
    COUNT,
    FLAG,
    FORMATS,
    FRACTION,
    RATE,
    SECONDS,
    TEXT,
    VERSION,
    WHOLE,
)
from autobatch.records.options import check_options, option
from autobatch.records.settings import Settings
from autobatch.records.workload import Environment

NO_REFERENCE = "none"
# With fewer, the scatter of the rounds is unknown.
FEWEST_ROUNDS = 3
# Trials may use almost all memory: how much must stay free is a requirement.
TRIAL_HEADROOM_FRACTION = 0.02

_target = partial(option, group="Requirements on the target")
_change = partial(option, group="Comparison with a baseline")
_hardware = partial(option, group="Requirements on the hardware, on each device")


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLimits:
    """What a target must keep to. ``None`` requires nothing.

    Raises:
        SettingsError: If a value cannot be used; the message repeats it.
    """

    # fmt: off
    max_memory_bytes: int | None = _target(None, BYTES, "Most memory at the peak.")
    min_headroom_fraction: float | None = _target(
        None, FRACTION, "Least part of the memory that stays free at the peak.")
    min_samples_per_s: float | None = _target(
        None, RATE, "Fewest samples per second.", name="min_throughput")
    max_step_time_s: float | None = _target(None, SECONDS, "Longest step, such as 50ms.")
    tolerance_fraction: float = _change(
        0.1, FRACTION, "How much longer than in the baseline a step may take.")
    memory_tolerance_fraction: float = _change(
        0.02, FRACTION, "How much more memory than in the baseline it may take.")
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def any_of_time(self) -> bool:
        """Whether a limit on time is set, the baseline aside."""
        return self.min_samples_per_s is not None or self.max_step_time_s is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareLimits:
    """What the devices must be. ``None``, ``False`` and empty require nothing.

    Raises:
        SettingsError: If a value cannot be used; the message repeats it.
    """

    # fmt: off
    min_devices: int | None = _hardware(None, COUNT, "Fewest devices of the kind.")
    min_capacity_bytes: int | None = _hardware(
        None, BYTES, "Least memory, under the limit that binds.")
    min_free_bytes: int | None = _hardware(None, BYTES, "Least free memory.")
    min_cores: float | None = _hardware(
        None, RATE, "Fewest cores of the CPU that can really be used.", metavar="N")
    min_driver: str | None = _hardware(None, VERSION, "Oldest driver, such as 550.54.")
    precisions: tuple[str, ...] = _hardware(
        (), FORMATS, "A number format to compute with. May be repeated.", name="require")
    no_throttling: bool = _hardware(
        False, FLAG, "Nothing may hold the clocks down, now or while the target runs.")
    max_ecc_errors: int | None = _hardware(
        None, WHOLE, "Most memory errors, corrected or not, since the driver was loaded.")
    min_pcie_width: int | None = _hardware(
        None, COUNT, "Fewest PCIe lanes in use.", metavar="LANES")
    max_other_processes: int | None = _hardware(
        None, WHOLE, "Most other processes that hold memory of a device.")
    all_reduce_min_bytes_per_s: int | None = _hardware(
        None, BANDWIDTH, "Least bus bandwidth of an all-reduce between the devices (NCCL), or "
        "between `nproc_per_node` processes of the CPU, two by default (gloo).",
        name="all_reduce_min")
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is required."""
        return self == HardwareLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """Everything that a user can ask of a check; one object that travels whole.

    Attributes:
        training: How the target is trained: device, precision, seed and so on.
        limits: What the target must keep to.
        hardware: What the devices must be.
        ranks: How many processes train the target together, and how.
        keeps_baseline: Whether the measurement is to become a baseline, and must be precise.

    Raises:
        SettingsError: If a value cannot be used; the message repeats it.
    """

    # fmt: off
    training: Settings = field(default_factory=Settings)
    limits: TargetLimits = field(default_factory=TargetLimits)
    hardware: HardwareLimits = field(default_factory=HardwareLimits)
    ranks: RanksSettings = field(default_factory=RanksSettings)
    keeps_baseline: bool = False
    gpu: str | None = option(
        None, TEXT, "Predict the memory on this GPU, by name or as 24GiB:8.9, and run nothing.",
        group="Your training", metavar="NAME")
    batch_size: int | None = option(
        None, COUNT, "Size to check. Default: the target's.", group="Your training")
    reference: str | None = _change(
        None, TEXT, "What to time in turn with the target, so that what the machine does can be "
        "taken off: the code that a change is made to, or none. Default: the baseline's, or none.",
        metavar="TARGET")
    any_hardware: bool = _change(
        False, FLAG, "Compare with a baseline of other hardware, memory alone.")
    time_limit_s: float = option(90.0, SECONDS, "Time to decide in.", group="Time")
    strict: bool = option(
        False, FLAG, "What is inconclusive counts as not met.", group="Requirements on the target")
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRound:
    """The target, and then the reference, each timed without a break.

    Attributes:
        step_times_s: Every timed step of the target.
        reference_times_s: Every timed step of the reference; empty if there is none.
        peak_bytes: Highest memory use of the target; ``None`` if it could not be read.
    """

    step_times_s: tuple[float, ...]
    reference_times_s: tuple[float, ...] = ()
    peak_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A target at one batch size, timed in rounds on one machine: what a baseline keeps.

    Attributes:
        target: The target, as the user wrote it.
        batch_size: Samples per forward/backward pass, of each rank.
        precision: Arithmetic of a step.
        device: Name of the device: ``cpu``, ``cuda:0``.
        reference: The target that was timed in turn with it, or ``none``.
        reference_batch_size: The batch size that it ran at; ``None`` if there is none.
        num_threads: Intra-op threads that a step ran on.
        environment: Where it was measured.
        rounds: What was measured, in the order it was.
        num_ranks: Processes that train it together.
        parallel: How they do; empty for one process.
    """

    target: str
    batch_size: int
    precision: str
    device: str
    reference: str
    reference_batch_size: int | None
    num_threads: int
    environment: Environment
    rounds: tuple[CheckRound, ...]
    num_ranks: int = 1
    parallel: str = ""

    @property
    def num_samples(self) -> int:
        """Samples of a step of all ranks."""
        return self.batch_size * self.num_ranks

    @property
    def peaks_bytes(self) -> tuple[int, ...]:
        """The peak of every round that has one."""
        return tuple(each.peak_bytes for each in self.rounds if each.peak_bytes is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One requirement, and whether it is met.

    Attributes:
        requirement: What was required.
        limit: The limit, in the unit of the requirement: bytes, seconds, samples per second, a
            fraction, a count; for ``require`` and ``min-driver`` a word.
        status: Whether it is met.
        value: The figure that was measured or read; ``None`` if there is none.
        low: Lower end of the interval of the figure; ``None`` for what is simply read.
        high: Upper end of it.
        reason: Why it is inconclusive, or which device it is that does not meet it; may be empty.
        is_predicted: Whether the figure was predicted, and nothing was run.
    """

    requirement: RequirementName
    limit: float | str | None
    status: Status
    value: float | str | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    is_predicted: bool = False

    @classmethod
    def all_inconclusive(
        cls, reason: str, *required: tuple[RequirementName, float | None]
    ) -> list[Verdict]:
        """Verdicts that could not be reached.

        Args:
            reason: Why they could not.
            *required: What can be required, and where the line is; ``None`` where it was not.
        """
        return [
            cls.inconclusive(name, limit, reason) for name, limit in required if limit is not None
        ]

    @classmethod
    def inconclusive(
        cls,
        requirement: RequirementName,
        limit: float | str | None,
        reason: str,
        value: float | None = None,
    ) -> Verdict:
        """A verdict that could not be reached.

        Args:
            requirement: What was required.
            limit: Where the line is.
            reason: Why it could not.
            value: The figure that there is all the same.
        """
        return cls(
            requirement=requirement,
            limit=limit,
            status=Status.INCONCLUSIVE,
            value=value,
            reason=reason,
        )

    @property
    def name(self) -> str:
        """The requirement in one word, each but once in a report."""
        suffix = f"-{self.limit}" if self.requirement is RequirementName.REQUIRE else ""
        return self.requirement.value + suffix


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What came of a check.

    Attributes:
        target: The target, as the user wrote it; ``None`` if the hardware alone was checked.
        devices: What was checked, such as ``cpu (Intel Xeon)``.
        settings: What was asked.
        verdicts: One for each requirement.
        measurement: What was measured; ``None`` without a target, or if the size never fitted.
        baseline: What it was compared with.
        prediction: What was predicted, where nothing was run.
        notes: What else to know, one sentence each.
        elapsed_s: How long it took.
        is_complete: Whether it came to its end, rather than being interrupted.
    """

    target: str | None
    devices: tuple[str, ...]
    settings: CheckSettings
    verdicts: tuple[Verdict, ...]
    measurement: Measurement | None = None
    baseline: Measurement | None = None
    prediction: PredictedMemory | None = None
    notes: tuple[str, ...] = ()
    elapsed_s: float = 0.0
    is_complete: bool = True

    @property
    def is_met(self) -> bool:
        """Whether the check has passed; with ``strict`` nothing may be inconclusive."""
        failing = (
            {Status.NOT_MET, Status.INCONCLUSIVE} if self.settings.strict else {Status.NOT_MET}
        )
        return not any(verdict.status in failing for verdict in self.verdicts)

    def count(self, status: Status) -> int:
        """How many requirements have a status."""
        return sum(verdict.status is status for verdict in self.verdicts)

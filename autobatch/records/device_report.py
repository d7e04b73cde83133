"""What a device reports; a figure that it cannot read is ``Unknown``, with the reason."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.records.memory import MemoryBound, MemoryBudget


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """A value that cannot be told here.

    Attributes:
        reason: Why not, in words that follow a colon: ``not supported by this GPU``.
    """

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionSupport:
    """Whether a number format can be computed with.

    Attributes:
        name: ``fp32``, ``tf32``, ``bf16``, ``fp16`` or ``fp8``.
        is_supported: Whether it can.
        detail: What it comes with or why it is not there; may be empty.
    """

    name: str
    is_supported: bool | Unknown
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessUse:
    """A process that holds memory of a GPU.

    Attributes:
        pid: Its number, as the driver counts processes.
        name: Its program's name.
        used_bytes: What it holds of the GPU's memory.
    """

    pid: int
    name: str | Unknown
    used_bytes: int | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class EccReport:
    """Error correction of a GPU's memory.

    Attributes:
        is_enabled: Whether it is on.
        num_corrected: Errors corrected since the driver was loaded.
        num_uncorrected: Errors that could not be.
    """

    is_enabled: bool | Unknown
    num_corrected: int | Unknown
    num_uncorrected: int | Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReport:
    """What is known about a GPU besides its memory.

    Of a MIG slice, clocks, error correction and link are the whole GPU's.

    Attributes:
        is_mig_slice: Whether it is a slice of a GPU rather than a whole one.
        compute_capability: Such as ``9.0``; for AMD the architecture, such as ``gfx942``.
        processes: Other processes that hold memory of it.
        utilization_fraction: Fraction of the last sampling period in which something ran on it.
        power_w: Power drawn, in watts.
        power_limit_w: Power at which the clocks are lowered, in watts.
        temperature_c: Temperature, in degrees Celsius.
        clocks: How fast it runs.
        ecc: Error correction.
        pcie_width: Lanes of the link to the host in use. An idle GPU may have turned it down.
    """

    is_mig_slice: bool | Unknown
    compute_capability: str | Unknown
    processes: tuple[ProcessUse, ...] | Unknown
    clocks_limited_by: tuple[str, ...] | Unknown
    ecc: EccReport
    pcie_width: int | Unknown

    @classmethod
    def not_told(cls, reason: str) -> GpuReport:
        """The report of a GPU about which nothing can be read.

        Args:
            reason: Why not.
        """
        unknown = Unknown(reason=reason)
        return cls(
            is_mig_slice=unknown,
            compute_capability=unknown,
            processes=unknown,
            clocks_limited_by=unknown,
            ecc=EccReport(is_enabled=unknown, num_corrected=unknown, num_uncorrected=unknown),
            pcie_width=unknown,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuQuota:
    """A limit on CPU time.

    Attributes:
        name: What sets it: ``cgroup /sys/fs/cgroup/app``.
        num_cores: Cores' worth of CPU time for all processes under it together.
    """

    name: str
    num_cores: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuReport:
    """The cores of a machine, and those that can really be used.

    Attributes:
        num_cores: Logical cores of the machine.
        num_affinity_cores: Those that this process may be scheduled on.
        quotas: Limits on CPU time, innermost first.
        num_usable_cores: The least of all these.
    """

    num_cores: int | Unknown
    num_affinity_cores: int | Unknown
    quotas: tuple[CpuQuota, ...]
    num_usable_cores: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceReport:
    """One device to train on.

    Attributes:
        name: As the option ``device`` takes it: ``cpu``, ``cuda:0``.
        hardware_name: What the hardware calls itself.
        driver_version: Version of the driver.
        capacity_bytes: All its memory.
        free_bytes: The part that is unused at this moment.
        bounds: Every limit on the memory that training can come to hold.
        budget: What may be used; its ``bound_by`` names the limit that binds.
        precisions: Number formats.
        gpu: What only a GPU has.
        cpu: What only a CPU has.
    """

    name: str
    hardware_name: str
    driver_version: str | Unknown
    capacity_bytes: int | Unknown
    free_bytes: int | Unknown
    bounds: tuple[MemoryBound, ...]
    budget: MemoryBudget | Unknown
    precisions: tuple[PrecisionSupport, ...]
    gpu: GpuReport | None = None
    cpu: CpuReport | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReport:
    """The devices of a machine.

    Attributes:
        devices: The devices, those that ``auto`` prefers first.
        auto: Name of the device that ``device=auto`` takes.
        torch_version: Version of PyTorch.
        notes: What else to know, one sentence each, such as why no GPU is listed.
    """

    devices: tuple[DeviceReport, ...]
    auto: str
    torch_version: str
    notes: tuple[str, ...] = ()

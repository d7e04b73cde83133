"""The devices that a check is about, and what is required of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autobatch.check.all_reduce import measure_all_reduce
from autobatch.check.judge.all_reduce import AllReduce, judge_all_reduce
from autobatch.check.judge.hardware import NO_DEVICE, judge_hardware
from autobatch.check.records import CheckReport, CheckSettings, HardwareLimits, Verdict
from autobatch.devices.cpu_report import read_cores
from autobatch.devices.select import check_device_name
from autobatch.errors import DeviceUnavailableError
from autobatch.records import DeviceReport, MachineReport, Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The devices that were asked for.

    Attributes:
        devices: What they say of themselves; may be none.
        num_usable_cores: Cores of the CPU, whichever the devices are.
        notes: Why there is no device, where that is so.
        all_reduce: What they exchange; ``None`` if nothing is required of it.
    """

    devices: tuple[DeviceReport, ...]
    num_usable_cores: float | Unknown
    notes: tuple[str, ...] = ()
    all_reduce: AllReduce | Unknown | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The devices in words."""
        return tuple(f"{each.name} ({each.hardware_name})" for each in self.devices)

    def judge(
        self, limits: HardwareLimits, throttled_by: tuple[str, ...] | Unknown | None = None
    ) -> tuple[Verdict, ...]:
        """Judge the requirements on these devices; see ``judge_hardware``.

        Args:
            limits: What is required.
            throttled_by: What held the clocks down, if anything was measured.
        """
        verdicts = tuple(judge_hardware(limits, self.devices, self.num_usable_cores, throttled_by))
        if limits.all_reduce_min_bytes_per_s is None or self.all_reduce is None:
            return verdicts
        return (*verdicts, judge_all_reduce(limits.all_reduce_min_bytes_per_s, self.all_reduce))


def read_hardware(name: str, limits: HardwareLimits, num_ranks: int = 1) -> Hardware:
    """Ask the devices of one name or kind.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` for all of them, ``cuda:1`` for one, and so on.
        limits: What will be required.
        num_ranks: Processes that exchange something, where that is measured; 1 for one of each
            GPU, or two of the CPU.

    Raises:
        DeviceError: If no device can have the name.
        DeviceUnavailableError: If there is none, and no number of them is required.
    """
    check_device_name(name)
    # Loads PyTorch.
    from autobatch.devices.machine import report_machine

    hardware = select_hardware(report_machine(), name)
    if not hardware.devices and limits.min_devices is None:
        raise DeviceUnavailableError(
            f"there is no device {name!r} to check",
            hint="run `autobatch devices` for those of this machine; with `min_devices=1` a "
            "missing device is a requirement that is not met",
        )
    if limits.all_reduce_min_bytes_per_s is None:
        return hardware
    return replace(hardware, all_reduce=_exchange(hardware.devices, num_ranks))


def _exchange(devices: tuple[DeviceReport, ...], num_ranks: int) -> AllReduce | Unknown:
    kind = devices[0].name.partition(":")[0] if devices else ""
    if num_ranks == 1:
        num_ranks = 2 if kind == "cpu" else len(devices)
    elif kind != "cpu" and num_ranks > len(devices):
        return Unknown(reason=f"{num_ranks} processes need a device each, of {len(devices)}")
    return measure_all_reduce(kind, num_ranks) if kind else Unknown(reason=NO_DEVICE)


def select_hardware(machine: MachineReport, name: str) -> Hardware:
    """Select the devices of a machine by name or kind.

    Args:
        machine: All its devices.
        name: ``auto``, a kind such as ``cuda``, or a device such as ``cuda:1``.
    """
    wanted = machine.auto.partition(":")[0] if name == "auto" else name
    devices = tuple(
        each for each in machine.devices if wanted in (each.name, each.name.partition(":")[0])
    )
    return Hardware(
        devices=devices,
        num_usable_cores=read_cores().num_usable_cores,
        notes=() if devices else machine.notes,
    )


def check_hardware(settings: CheckSettings) -> CheckReport:
    """Check the hardware alone, without a target.

    Raises:
        DeviceError: If there is no such device, and no number of them is required.
    """
    hardware = read_hardware(
        settings.training.device, settings.hardware, settings.ranks.nproc_per_node
    )
    return CheckReport(
        target=None,
        devices=hardware.names,
        settings=settings,
        verdicts=hardware.judge(settings.hardware),
        notes=hardware.notes,
    )

"""The devices that a check is about, and what is required of them."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.check.judge.hardware import judge_hardware
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
    """

    devices: tuple[DeviceReport, ...]
    num_usable_cores: float | Unknown
    notes: tuple[str, ...] = ()

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
        return tuple(judge_hardware(limits, self.devices, self.num_usable_cores, throttled_by))


def read_hardware(name: str, limits: HardwareLimits) -> Hardware:
    """Ask the devices of one name or kind.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` for all of them, ``cuda:1`` for one, and so on.
        limits: What will be required.

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
    return hardware


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
    hardware = read_hardware(settings.training.device, settings.hardware)
    return CheckReport(
        target=None,
        devices=hardware.names,
        settings=settings,
        verdicts=hardware.judge(settings.hardware),
        notes=hardware.notes,
    )

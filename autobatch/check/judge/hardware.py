"""Verdicts on devices, from what they say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator

from autobatch.check.records import HardwareLimits, Verdict
from autobatch.records import DeviceReport, RequirementName, Status, Unknown

# What holds clocks down by choice or for the sake of others is no defect of the device.
_HARMLESS = frozenset(
    {"idle", "clocks set by the user", "in step with other GPUs", "display clock"}
)
_NO_GPU = Unknown(reason="only a GPU can tell")
#: Why nothing is known of a device that was asked for.
NO_DEVICE = "there is no such device"

Reading = float | Unknown


def judge_hardware(
    limits: HardwareLimits,
    devices: tuple[DeviceReport, ...],
    num_usable_cores: float | Unknown,
    throttled_by: tuple[str, ...] | Unknown | None = None,
) -> Iterator[Verdict]:
    """Judge every requirement on the hardware. Each device has to meet it.

    Args:
        limits: What is required.
        devices: Those that were asked for; may be none.
        num_usable_cores: Cores of the CPU, whichever the devices are.
        throttled_by: What held the clocks down while the target ran; ``None`` if nothing ran,
            and then what holds them down at this moment counts.
    """
    if limits.min_devices is not None:
        is_met = len(devices) >= limits.min_devices
        yield Verdict(
            requirement=RequirementName.MIN_DEVICES,
            limit=limits.min_devices,
            status=Status.MET if is_met else Status.NOT_MET,
            value=len(devices),
        )
    if limits.min_cores is not None:
        yield _judge_one(RequirementName.MIN_CORES, limits.min_cores, num_usable_cores)
    for name, limit, read, is_minimum in (
        (RequirementName.MIN_CAPACITY, limits.min_capacity_bytes, _capacity, True),
        (RequirementName.MIN_FREE, limits.min_free_bytes, _free, True),
        (RequirementName.MIN_PCIE_WIDTH, limits.min_pcie_width, _pcie_width, True),
        (RequirementName.MAX_ECC_ERRORS, limits.max_ecc_errors, _ecc_errors, False),
        (RequirementName.MAX_OTHER_PROCESSES, limits.max_other_processes, _processes, False),
    ):
        if limit is not None:
            yield _judge_each(
                name,
                limit,
                {each.name: read(each, limit) for each in devices},
                is_minimum=is_minimum,
            )
    if limits.min_driver is not None:
        yield _judge_driver(limits.min_driver, devices)
    for precision in limits.precisions:
        yield _judge_precision(precision, devices)
    if limits.no_throttling:
        yield _judge_throttling(devices, throttled_by)


def version_key(version: str) -> tuple[int, ...]:
    """The numbers of a version, to compare by: ``550.54.14`` is above ``550.9``."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _judge_one(name: RequirementName, limit: float, value: Reading) -> Verdict:
    if isinstance(value, Unknown):
        return Verdict.inconclusive(name, limit, value.reason)
    status = Status.MET if value >= limit else Status.NOT_MET
    return Verdict(requirement=name, limit=limit, status=status, value=value)


def _judge_each(
    name: RequirementName, limit: float, readings: dict[str, Reading], *, is_minimum: bool
) -> Verdict:
    if not readings:
        return Verdict.inconclusive(name, limit, NO_DEVICE)
    known = {where: each for where, each in readings.items() if not isinstance(each, Unknown)}
    failing = [
        where for where, value in known.items() if (value < limit if is_minimum else value > limit)
    ]
    worst = min if is_minimum else max
    if failing:
        return Verdict(
            requirement=name,
            limit=limit,
            status=Status.NOT_MET,
            value=worst(known.values()),
            reason=", ".join(failing) if len(readings) > 1 else "",
        )
    for where, reading in readings.items():
        if isinstance(reading, Unknown):
            return Verdict.inconclusive(name, limit, f"{where}: {reading.reason}")
    return Verdict(requirement=name, limit=limit, status=Status.MET, value=worst(known.values()))


def _judge_driver(limit: str, devices: tuple[DeviceReport, ...]) -> Verdict:
    name = RequirementName.MIN_DRIVER
    if not devices:
        return Verdict.inconclusive(name, limit, NO_DEVICE)
    # All GPUs of a machine share a driver.
    version = devices[0].driver_version
    if isinstance(version, Unknown):
        return Verdict.inconclusive(name, limit, version.reason)
    if not version_key(version):
        return Verdict.inconclusive(name, limit, f"{version!r} has no number to compare")
    is_met = version_key(version) >= version_key(limit)
    status = Status.MET if is_met else Status.NOT_MET
    return Verdict(requirement=name, limit=limit, status=status, value=version)


def _judge_precision(precision: str, devices: tuple[DeviceReport, ...]) -> Verdict:
    name = RequirementName.REQUIRE
    unknown = "" if devices else NO_DEVICE
    for device in devices:
        support = next((each for each in device.precisions if each.name == precision), None)
        if support is None or isinstance(support.is_supported, Unknown):
            unknown = unknown or f"{device.name} does not tell"
        elif not support.is_supported:
            detail = f": {support.detail}" if support.detail else ""
            return Verdict(
                requirement=name,
                limit=precision,
                status=Status.NOT_MET,
                value="not supported",
                reason=f"{device.name}{detail}",
            )
    if unknown:
        return Verdict.inconclusive(name, precision, unknown)
    return Verdict(requirement=name, limit=precision, status=Status.MET, value="supported")


def _judge_throttling(
    devices: tuple[DeviceReport, ...], throttled_by: tuple[str, ...] | Unknown | None
) -> Verdict:
    name = RequirementName.NO_THROTTLING
    if not devices:
        return Verdict.inconclusive(name, None, NO_DEVICE)
    seen: dict[str, None] = {}
    unknown = ""
    readings: list[tuple[str, ...] | Unknown] = [
        device.gpu.clocks_limited_by if device.gpu else _NO_GPU for device in devices
    ]
    for reading in [*readings, *([] if throttled_by is None else [throttled_by])]:
        if isinstance(reading, Unknown):
            unknown = unknown or reading.reason
        else:
            seen |= dict.fromkeys(word for word in reading if word not in _HARMLESS)
    if seen:
        held = ", ".join(seen)
        return Verdict(requirement=name, limit=None, status=Status.NOT_MET, value=held)
    if unknown:
        return Verdict.inconclusive(name, None, unknown)
    return Verdict(requirement=name, limit=None, status=Status.MET, value="none")


def _capacity(device: DeviceReport, limit: float) -> Reading:
    if device.bounds:
        return min(bound.capacity_bytes for bound in device.bounds)
    return device.capacity_bytes


def _free(device: DeviceReport, limit: float) -> Reading:
    if isinstance(device.free_bytes, Unknown):
        return device.free_bytes
    return min([device.free_bytes, *(bound.available_bytes for bound in device.bounds)])


def _pcie_width(device: DeviceReport, limit: float) -> Reading:
    return device.gpu.pcie_width if device.gpu else _NO_GPU


def _ecc_errors(device: DeviceReport, limit: float) -> Reading:
    if device.gpu is None:
        return _NO_GPU
    ecc = device.gpu.ecc
    if ecc.is_enabled is False:
        return Unknown(reason="error correction is off, so nothing is counted")
    counts = (ecc.num_corrected, ecc.num_uncorrected)
    known = sum(count for count in counts if not isinstance(count, Unknown))
    for count in counts:
        # What is counted may be too many already, whatever is not.
        if isinstance(count, Unknown) and known <= limit:
            return count
    return known


def _processes(device: DeviceReport, limit: float) -> Reading:
    if device.gpu is None:
        return _NO_GPU
    processes = device.gpu.processes
    return processes if isinstance(processes, Unknown) else len(processes)

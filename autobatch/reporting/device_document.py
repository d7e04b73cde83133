"""The devices of a machine as a JSON document.

What a device cannot tell is ``null``, and the device's ``unknown`` says why: a reason by the
path of the value, such as ``gpu.pcie_width``.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from autobatch.records import DeviceReport, MachineReport, MemoryBudget, Unknown
from autobatch.reporting.codec import Document, Writer


def find_unknown(value: Any, path: str = "") -> dict[str, str]:
    """Find the reasons for everything that is unknown in a record.

    Args:
        value: The record, or a part of it.
        path: Where the part is in the document.

    Returns:
        Reasons by path.
    """
    if isinstance(value, Unknown):
        return {path: value.reason}
    found: dict[str, str] = {}
    if is_dataclass(value):
        for item in fields(value):
            inner = f"{path}.{item.name}" if path else item.name
            found |= find_unknown(getattr(value, item.name), inner)
    elif isinstance(value, (tuple, list)):
        for index, element in enumerate(value):
            found |= find_unknown(element, f"{path}[{index}]")
    return found


def _write(machine: MachineReport) -> Document:
    return {
        "torch_version": machine.torch_version,
        "auto": machine.auto,
        "notes": machine.notes,
        "devices": [_device(device) for device in machine.devices],
    }


def _device(device: DeviceReport) -> dict[str, Any]:
    plain: dict[str, Any] = _plain(device)
    budget = device.budget
    bound_by = budget.bound_by if isinstance(budget, MemoryBudget) else None
    for bound in plain["bounds"]:
        bound["binds"] = bound["name"] == bound_by
    return {**plain, "unknown": find_unknown(device)}


def _plain(value: Any) -> Any:
    if isinstance(value, Unknown):
        return None
    if is_dataclass(value):
        return {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(element) for element in value]
    return value


DEVICES = Writer(version=1, write=_write)

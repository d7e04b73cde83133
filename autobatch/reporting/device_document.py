"""The devices of a machine as a JSON document.

What a device cannot tell is ``null``, and the device's ``unknown`` says why: a reason by the
path of the value, such as ``gpu.power_w``.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any

from autobatch._version import __version__
from autobatch.records import DeviceReport, MachineReport, MemoryBudget, Unknown

DEVICES_SCHEMA_VERSION = 1


def devices_document(machine: MachineReport) -> dict[str, Any]:
    """A machine's devices as dicts, lists, strings and numbers."""
    return {
        "schema_version": DEVICES_SCHEMA_VERSION,
        "autobatch_version": __version__,
        "torch_version": machine.torch_version,
        "auto": machine.auto,
        "notes": list(machine.notes),
        "devices": [_device(device) for device in machine.devices],
    }


def dumps_devices(machine: MachineReport) -> str:
    """A machine's devices as indented JSON text that ends in a newline."""
    return json.dumps(devices_document(machine), indent=2, allow_nan=False) + "\n"


def find_unknown(value: Any, path: str = "") -> dict[str, str]:
    """Reasons for all that is unknown in a record, by path."""
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

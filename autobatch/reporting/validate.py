"""What a number in a document can be of the right type and still not be.

The unit suffix of a field's name says what range its number has, so one walk over all records
does for every field there is and will be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

_MAX_INT = 2**63 - 1
# Far beyond any real time, size or rate, and sums and ratios of such numbers stay finite.
_MAX_FLOAT = 1e18
_MIN_STEP_TIME_S = 1e-12
# The intercept of a line may lie below zero; a limit may report more than its capacity as free.
_ABOVE_ZERO = frozenset(
    {
        "step_time_s",
        "step_times_s",
        "reference_times_s",
        "samples_per_s",
        "goodput_samples_per_s",
    }
)
_SIGNED = frozenset({"fixed_bytes", "used_by_others_bytes", "unexplained_bytes"})


def first_range_complaint(record: Any) -> tuple[str, str] | None:
    """The first number in a record that is out of the range that its unit has.

    Returns:
        Where it is and what is wrong with it, or ``None``.
    """
    for where, name, value in _numbers(record, ""):
        complaint = _range_complaint(name, value)
        if complaint:
            return where, f"{complaint}, got {value}"
    return None


def _numbers(value: Any, where: str, name: str = "") -> Iterator[tuple[str, str, float]]:
    if is_dataclass(value):
        for item in fields(value):
            path = f"{where}.{item.name}" if where else item.name
            yield from _numbers(getattr(value, item.name), path, item.name)
    elif isinstance(value, tuple):
        for index, element in enumerate(value):
            yield from _numbers(element, f"{where}[{index}]", name)
    elif isinstance(value, dict):
        for key, element in value.items():
            yield from _numbers(element, f"{where}.{key}")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield where, name, value


def _range_complaint(name: str, value: float) -> str:
    if isinstance(value, float) and math.isnan(value):
        return ""
    if abs(value) > (_MAX_INT if isinstance(value, int) else _MAX_FLOAT):
        return "expected a smaller number"
    if name.endswith(("batch_size", "dataset_size", "num_devices", "knee")) and value < 1:
        return "expected at least 1"
    if name.endswith("_fraction") and not 0 <= value <= 1:
        return "expected a fraction from 0 to 1"
    if name in _ABOVE_ZERO and value < _MIN_STEP_TIME_S:
        return "expected a number above 0"
    if name.endswith(("_bytes", "_s")) and name not in _SIGNED and value < 0:
        return "expected no negative number"
    return ""

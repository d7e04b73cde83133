"""A measurement as a file, to hold later ones against."""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec

from autobatch._version import __version__
from autobatch.check.records import FEWEST_ROUNDS, NO_REFERENCE, Measurement
from autobatch.errors import ResultFormatError
from autobatch.reporting.checks import first_range_complaint
from autobatch.reporting.files import check_writable, write_atomically
from autobatch.reporting.reading import check_version, convert_value, format_error, read_document

# 1 could be in turn with a step that was built in.
BASELINE_SCHEMA_VERSION = 2
_KIND = "baseline"
_OWN_KEYS = ("schema_version", "autobatch_version", "kind")
_REDO = "make it again with autobatch check TARGET --save-baseline FILE --force"


def dumps_baseline(measurement: Measurement) -> str:
    """A measurement as JSON text that ends in a newline, one round to a line."""
    document = {
        "schema_version": BASELINE_SCHEMA_VERSION,
        "autobatch_version": __version__,
        "kind": _KIND,
        **msgspec.to_builtins(measurement),
    }
    rounds = ",\n".join(f"    {json.dumps(each)}" for each in document.pop("rounds"))
    head = json.dumps(document, indent=2, allow_nan=False).removesuffix("\n}")
    return f'{head},\n  "rounds": [\n{rounds}\n  ]\n}}\n'


def save_baseline(measurement: Measurement, path: str | os.PathLike[str], overwrite: bool) -> None:
    """Write a measurement to a file, whole or not at all.

    Raises:
        SettingsError: If it cannot be written.
    """
    check_writable(path, overwrite)
    write_atomically(path, dumps_baseline(measurement).encode("utf-8"))


def load_baseline(path: str | os.PathLike[str]) -> Measurement:
    """Read a measurement that ``save_baseline`` wrote.

    Raises:
        ResultFormatError: If the file cannot be read or does not hold a baseline.
    """
    return read_document(
        path,
        baseline_from_document,
        redo=_REDO,
        instead="make one with autobatch check TARGET --save-baseline FILE",
    )


def baseline_from_document(document: Any) -> Measurement:
    """The measurement that a document holds.

    Raises:
        ResultFormatError: If it is none; the message says where and why.
    """
    check_version(document, BASELINE_SCHEMA_VERSION, "a baseline", redo=_REDO)
    if document.get("kind") != _KIND:
        raise ResultFormatError("it holds something else than a baseline", hint=_REDO)
    plain = {key: value for key, value in document.items() if key not in _OWN_KEYS}
    measurement = convert_value(plain, "", Measurement, redo=_REDO)
    unknown = _find_unknown_key(plain, msgspec.to_builtins(measurement))
    if unknown:
        raise format_error(unknown, "unknown key", redo=_REDO)
    complaint = first_range_complaint(measurement) or _find_contradiction(measurement)
    if complaint:
        raise format_error(*complaint, redo=_REDO)
    return measurement


def _find_unknown_key(given: Any, known: Any, where: str = "") -> str:
    """Path of the first key that is not a field of the record, or an empty string."""
    if isinstance(given, dict):
        for key, value in given.items():
            path = f"{where}.{key}" if where else key
            if key not in known:
                return path
            found = _find_unknown_key(value, known[key], path)
            if found:
                return found
    elif isinstance(given, list):
        for index, (value, like) in enumerate(zip(given, known, strict=True)):
            found = _find_unknown_key(value, like, f"{where}[{index}]")
            if found:
                return found
    return ""


def _find_contradiction(measurement: Measurement) -> tuple[str, str] | None:
    if len(measurement.rounds) < FEWEST_ROUNDS:
        return "rounds", f"expected at least {FEWEST_ROUNDS}, got {len(measurement.rounds)}"
    has_reference = measurement.reference != NO_REFERENCE
    if has_reference != (measurement.reference_batch_size is not None):
        return "reference_batch_size", "expected a size" if has_reference else "expected none"
    for index, each in enumerate(measurement.rounds):
        if not each.step_times_s:
            return f"rounds[{index}].step_times_s", "expected at least one"
        if bool(each.reference_times_s) != has_reference:
            what = "at least one" if has_reference else "none"
            return f"rounds[{index}].reference_times_s", f"expected {what}"
    return None

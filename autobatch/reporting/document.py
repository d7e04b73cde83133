"""A finding as a JSON document, and back.

The document is flat where users read it (``batch_size``, ``peak_bytes``, ``budget_bytes``) and
nested where they look things up (``trials``, ``settings``, ``environment``). A few keys repeat
what others say, for the reader's ease: ``dataset_size``, ``compiled_samples_per_s`` (beside it
``samples_per_s`` is of running eagerly) and, in a trial, ``step_time_s``, ``samples_per_s`` and
``step_times_s``. They are written and never read back.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar, cast

import msgspec

from autobatch._version import __version__
from autobatch.errors import ResultFormatError
from autobatch.records import (
    Confirmation,
    Efficiency,
    Environment,
    Finding,
    FindingWarning,
    LengthBucket,
    MemoryBudget,
    MemoryCurve,
    NoiseScale,
    RecipeItem,
    Recommendation,
    Settings,
    StopReason,
    ThroughputCurve,
    Trial,
    WorkloadSummary,
)
from autobatch.reporting.checks import first_complaint
from autobatch.reporting.files import check_writable, write_atomically
from autobatch.reporting.reading import check_version, convert_value, format_error, read_document

SCHEMA_VERSION = 1

_T = TypeVar("_T")
_NOISE = cast(type[NoiseScale | None], NoiseScale | None)
_EFFICIENCY = cast(type[Efficiency | None], Efficiency | None)
_REDO = "make it again with autobatch probe TARGET -o FILE"


def to_document(finding: Finding) -> dict[str, Any]:
    """A finding as dicts, lists, strings and finite numbers.

    A number that is not finite is written as ``None``: JSON has no other word for it.
    """
    document = {
        "schema_version": SCHEMA_VERSION,
        "autobatch_version": __version__,
        "target": finding.target,
        "device": finding.device,
        **msgspec.to_builtins(finding.recommendation),
        "dataset_size": finding.settings.dataset_size or finding.workload.dataset_size,
        **msgspec.to_builtins(finding.budget),
        "host_budget": msgspec.to_builtins(finding.host_budget),
        "stop_reason": finding.stop_reason.value,
        "search_time_s": finding.search_time_s,
        "compiled_samples_per_s": finding.compiled_samples_per_s,
        "confirmation": msgspec.to_builtins(finding.confirmation),
        "trials": [trial_to_dict(trial) for trial in finding.trials],
        "eval_trials": [trial_to_dict(trial) for trial in finding.eval_trials],
        "buckets": msgspec.to_builtins(finding.buckets),
        "memory_curve": msgspec.to_builtins(finding.memory_curve),
        "throughput_curve": msgspec.to_builtins(finding.throughput_curve),
        "gradient_noise": msgspec.to_builtins(finding.gradient_noise),
        "efficiency": msgspec.to_builtins(finding.efficiency),
        "recipe": msgspec.to_builtins(finding.recipe),
        "warnings": msgspec.to_builtins(finding.warnings),
        "workload": msgspec.to_builtins(finding.workload),
        "settings": msgspec.to_builtins(finding.settings),
        "environment": msgspec.to_builtins(finding.environment),
    }
    plain: dict[str, Any] = without_nonfinite(document)
    return plain


def from_document(document: Any) -> Finding:
    """The finding that a document holds.

    Args:
        document: What ``to_document`` returned, or its like read from a file. Keys that this
            version does not know are ignored.

    Raises:
        ResultFormatError: If it is not a finding; the message says where and why.
    """
    _check_version(document)
    finding = Finding(
        target=_convert(document, "target", str),
        device=_convert(document, "device", str),
        settings=_convert(document, "settings", Settings),
        environment=_convert(document, "environment", Environment),
        workload=_convert(document, "workload", WorkloadSummary),
        budget=_convert_flat(document, MemoryBudget),
        host_budget=_convert_optional(document, "host_budget", MemoryBudget),
        trials=_convert(document, "trials", tuple[Trial, ...]),
        memory_curve=_convert_curve(document, "memory_curve", MemoryCurve),
        throughput_curve=_convert_curve(document, "throughput_curve", ThroughputCurve),
        recommendation=_convert_flat(document, Recommendation),
        confirmation=_convert_optional(document, "confirmation", Confirmation),
        warnings=_convert_warnings(document),
        stop_reason=_convert(document, "stop_reason", StopReason),
        search_time_s=_convert(document, "search_time_s", float),
        buckets=_convert({"buckets": (), **document}, "buckets", tuple[LengthBucket, ...]),
        eval_trials=_convert({"eval_trials": (), **document}, "eval_trials", tuple[Trial, ...]),
        # Files of versions that had none of these are read as well.
        gradient_noise=_convert_value(document.get("gradient_noise"), "gradient_noise", _NOISE),
        efficiency=_convert_value(document.get("efficiency"), "efficiency", _EFFICIENCY),
        recipe=_convert_value(document.get("recipe", ()), "recipe", tuple[RecipeItem, ...]),
    )
    complaint = first_complaint(finding)
    if complaint:
        raise _format_error(*complaint)
    return finding


def dumps(finding: Finding) -> str:
    """A finding as indented JSON text that ends in a newline."""
    return json.dumps(to_document(finding), indent=2, allow_nan=False) + "\n"


def save(finding: Finding, path: str | os.PathLike[str], overwrite: bool) -> None:
    """Write a finding to a file, whole or not at all.

    Args:
        finding: What to write.
        path: Where to.
        overwrite: Whether a file that is there already may be replaced.

    Raises:
        SettingsError: If it cannot be written.
    """
    check_writable(path, overwrite)
    write_atomically(path, dumps(finding).encode("utf-8"))


def load(path: str | os.PathLike[str]) -> Finding:
    """Read a finding that ``save`` wrote.

    Raises:
        ResultFormatError: If the file cannot be read or does not hold a finding.
    """
    return read_document(
        path, from_document, redo=_REDO, instead="give a file that autobatch -o wrote"
    )


def trial_to_dict(trial: Trial) -> dict[str, Any]:
    """A trial as a dict, what follows from its step times included."""
    stored = msgspec.to_builtins(trial)
    return {
        "batch_size": stored.pop("batch_size"),
        "outcome": stored.pop("outcome"),
        "peak_bytes": stored.pop("peak_bytes"),
        "step_time_s": trial.step_time_s,
        "samples_per_s": trial.samples_per_s,
        "num_warmup_steps": stored.pop("num_warmup_steps"),
        "step_times_s": trial.step_times_s,
        **stored,
    }


def without_nonfinite(value: Any) -> Any:
    """The same dicts and lists, with ``None`` for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: without_nonfinite(element) for key, element in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nonfinite(element) for element in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _check_version(document: Any) -> None:
    check_version(document, SCHEMA_VERSION, "a finding", redo=_REDO)
    if isinstance(document.get("error"), dict):
        message = document["error"].get("message")
        raise ResultFormatError(
            f"it holds the trials of a search that failed: {message!s:.300}", hint=_REDO
        )


def _convert(document: Mapping[str, Any], key: str, kind: type[_T]) -> _T:
    if key not in document:
        raise _format_error(key, "missing")
    return _convert_value(document[key], key, kind)


def _convert_flat(document: Mapping[str, Any], kind: type[_T]) -> _T:
    names = [item.name for item in fields(cast(Any, kind))]
    return _convert_value({name: document[name] for name in names if name in document}, "", kind)


def _convert_optional(document: Mapping[str, Any], key: str, kind: type[_T]) -> _T | None:
    return None if document.get(key) is None else _convert_value(document[key], key, kind)


def _convert_curve(document: Mapping[str, Any], key: str, kind: type[_T]) -> _T | None:
    if document.get(key) is None:
        return None
    return _convert_value(_nan_for_null(document[key]), key, kind)


def _convert_warnings(document: Mapping[str, Any]) -> tuple[FindingWarning, ...]:
    listed = _convert(document, "warnings", list[dict[str, Any]])
    return _convert_value(_nan_for_null(listed), "warnings", tuple[FindingWarning, ...])


def _nan_for_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nan_for_null(element) for key, element in value.items()}
    if isinstance(value, list):
        return [_nan_for_null(element) for element in value]
    return math.nan if value is None else value


def _convert_value(value: Any, where: str, kind: type[_T]) -> _T:
    return convert_value(value, where, kind, redo=_REDO)


def _format_error(where: str, reason: str) -> ResultFormatError:
    return format_error(where, reason, redo=_REDO)

"""A finding as a JSON document, and back.

The document is flat where users read it (``batch_size``, ``peak_bytes``, ``budget_bytes``) and
nested where they look things up (``trials``, ``settings``, ``environment``). A few keys repeat
what others say, for the reader's ease: ``confidence``, ``dataset_size``, ``epoch_price``,
``compiled_samples_per_s`` (beside it ``samples_per_s`` is of running eagerly), ``along`` (the
answer where another axis than the batch grew) and, in a trial, ``step_time_s``, ``samples_per_s``
and ``step_times_s``. They are written and never read back. Keys that this version does not know are
ignored.

``decision`` has the estimates that the size was chosen by, which are those that reports show; the
figures of a trial are raw medians.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from autobatch.errors import AutobatchError, ResultFormatError
from autobatch.records import Axis, Finding, Settings, Trial
from autobatch.reporting.codec import Codec, Document, Writer, nan_for_null
from autobatch.reporting.validate import first_range_complaint

SCHEMA_VERSION = 2

_REDO = "make it again with autobatch probe TARGET -o FILE"
_FLAT = ("recommendation", "budget")


def save_partial(
    error: AutobatchError,
    path: str | os.PathLike[str],
    overwrite: bool,
    *,
    target: str,
    settings: Settings,
) -> None:
    """Write what a failed search leaves: the error and the trials that it carries.

    The document has no recommendation: ``show`` says of it what went wrong.

    Args:
        error: What ended the search.
        path: The file.
        overwrite: Whether to replace an existing file.
        target: The target, as the user named it.
        settings: Settings of the search.

    Raises:
        SettingsError: If it cannot be written.
    """
    left = {
        "target": target,
        "error": {"kind": type(error).__name__, "message": str(error), "hint": error.hint},
        "trials": [_write_trial(trial) for trial in error.trials],
        "settings": msgspec.to_builtins(settings),
    }
    Writer[Document](version=SCHEMA_VERSION).save(left, path, overwrite)


def _write(finding: Finding) -> Document:
    plain: Document = msgspec.to_builtins(finding)
    recommendation, budget = (plain.pop(part) for part in _FLAT)
    last = {part: plain.pop(part) for part in ("workload", "settings", "environment")}
    return {
        "target": plain.pop("target"),
        "device": plain.pop("device"),
        **recommendation,
        "confidence": finding.confidence.value,
        "dataset_size": finding.settings.dataset_size or finding.workload.dataset_size,
        **budget,
        "compiled_samples_per_s": finding.compiled_samples_per_s,
        "epoch_price": finding.epoch_price,
        "along": _describe_axis(finding),
        **plain,
        "trials": [_write_trial(trial) for trial in finding.trials],
        "eval_trials": [_write_trial(trial) for trial in finding.eval_trials],
        **last,
    }


def _describe_axis(finding: Finding) -> Document | None:
    """The answer in the words of its axis; ``None`` where that is the batch size."""
    settings, answer = finding.settings, finding.recommendation
    if settings.axis is Axis.BATCH_SIZE:
        return None
    return {
        "axis": settings.axis.value,
        "size": answer.batch_size,
        "batch_size": settings.batch_size,
        "unit": settings.along.unit,
        "units_per_s": settings.along.rate(answer.batch_size, answer.samples_per_s),
    }


def _write_trial(trial: Trial) -> Document:
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


def _arrange(document: Document) -> Document:
    failure: Any = document.get("error")
    if isinstance(failure, dict):
        raise ResultFormatError(
            f"it holds the trials of a search that failed: {failure.get('message')!s:.300}",
            hint=_REDO,
        )
    arranged = {**document, "confirmation": document.get("confirmation")}
    for name in ("memory_curve", "throughput_curve"):
        curve = document.get(name)
        arranged[name] = None if curve is None else nan_for_null(curve)
    if "warnings" in document:
        arranged["warnings"] = nan_for_null(document["warnings"])
    return arranged


def _find_fault(finding: Finding) -> tuple[str, str] | None:
    return first_range_complaint(finding) or _find_contradiction(finding)


def _find_contradiction(finding: Finding) -> tuple[str, str] | None:
    recommendation = finding.recommendation
    ran = [trial.batch_size for trial in finding.trials]
    fitted = {trial.batch_size for trial in finding.trials if trial.fits}
    if len(set(ran)) < len(ran):
        return "trials", "a batch size is there twice"
    if recommendation.batch_size not in fitted:
        return "batch_size", f"no trial of size {recommendation.batch_size} fits"
    largest = recommendation.largest_batch_size
    if largest < recommendation.batch_size:
        return "largest_batch_size", f"{largest} is below batch_size"
    if recommendation.largest_was_run and largest not in fitted:
        return "largest_batch_size", f"no trial of size {largest} fits"
    for estimate in finding.decision.estimates:
        if estimate.batch_size not in fitted:
            return "decision.estimates", f"no trial of size {estimate.batch_size} fits"
        if not estimate.low <= estimate.samples_per_s <= estimate.high:
            return "decision.estimates", f"size {estimate.batch_size} lies outside its interval"
    efficiency = finding.efficiency
    if efficiency is not None and not efficiency.goodputs:
        return "efficiency", "it has no sizes"
    if finding.budget.budget_bytes > finding.budget.capacity_bytes:
        return "budget_bytes", f"{finding.budget.budget_bytes} is more than capacity_bytes"
    return None


FINDING = Codec(
    version=SCHEMA_VERSION,
    type=Finding,
    what="a finding",
    redo=_REDO,
    instead="give a file that autobatch -o wrote",
    write=_write,
    arrange=_arrange,
    flat=_FLAT,
    find_fault=_find_fault,
)
to_document = FINDING.to_document
from_document = FINDING.from_document
dumps = FINDING.dumps
save = FINDING.save
load = FINDING.load

"""A check as a JSON document, and a measurement as one to hold later ones against.

Its keys are there to be relied on; ``requirements`` has one entry for each verdict, with the unit
of its figures.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import msgspec

from autobatch.check.predicted_memory import PredictedMemory
from autobatch.check.records import (
    FEWEST_ROUNDS,
    NO_REFERENCE,
    CheckReport,
    Measurement,
    Verdict,
)
from autobatch.check.report.wording import typed_notes
from autobatch.records import RequirementName
from autobatch.reporting.codec import Codec, Document, Writer
from autobatch.reporting.validate import first_range_complaint

_UNITS = {
    RequirementName.MAX_MEMORY: "bytes",
    RequirementName.MIN_CAPACITY: "bytes",
    RequirementName.MIN_FREE: "bytes",
    RequirementName.MIN_HEADROOM: "fraction",
    RequirementName.BASELINE_STEP_TIME: "fraction",
    RequirementName.BASELINE_MEMORY: "fraction",
    RequirementName.MIN_THROUGHPUT: "samples_per_s",
    RequirementName.MAX_STEP_TIME: "s",
    RequirementName.ALL_REDUCE_MIN: "bytes_per_s",
    RequirementName.FITS: "batch_size",
}


def figures_of(measurement: Measurement) -> dict[str, float]:
    """What the rounds of a measurement come to."""
    times = [median(each.step_times_s) for each in measurement.rounds]
    if not times:
        return {}
    step_time_s = math.exp(median(math.log(each) for each in times))
    figures = {
        "step_time_s": step_time_s,
        "samples_per_s": measurement.num_samples / step_time_s,
    }
    if measurement.peaks_bytes:
        figures["peak_bytes"] = max(measurement.peaks_bytes)
    return figures


def _requirement(verdict: Verdict) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(verdict)
    return {"name": verdict.name, **plain, "unit": _UNITS.get(verdict.requirement)}


def _measurement(measurement: Measurement | None) -> dict[str, Any] | None:
    if measurement is None:
        return None
    return {**figures_of(measurement), **msgspec.to_builtins(measurement)}


def _write(report: CheckReport) -> Document:
    return {
        "target": report.target,
        "devices": report.devices,
        "is_met": report.is_met,
        "is_complete": report.is_complete,
        "strict": report.settings.strict,
        "requirements": [_requirement(each) for each in report.verdicts],
        "notes": typed_notes(report),
        "elapsed_s": report.elapsed_s,
        "measurement": _measurement(report.measurement),
        "baseline": _measurement(report.baseline),
        "prediction": msgspec.to_builtins(report.prediction),
    }


CHECK = Writer(version=1, write=_write)


def _find_fault(measurement: Measurement) -> tuple[str, str] | None:
    return first_range_complaint(measurement) or _find_contradiction(measurement)


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


BASELINE = Codec(
    version=2,  # in the first one the reference could be a step that was built in
    kind="baseline",
    type=Measurement,
    what="a baseline",
    redo="make it again with autobatch check TARGET `save_baseline=FILE` `force`",
    instead="make one with autobatch check TARGET `save_baseline=FILE`",
    line_by_line="rounds",
    refuses_unknown_keys=True,
    find_fault=_find_fault,
)

PREDICTED_BASELINE = Codec(
    version=1,
    kind="predicted_baseline",
    type=PredictedMemory,
    what="a predicted baseline",
    redo="make it again with autobatch check TARGET `gpu=NAME` `save_baseline=FILE` `force`",
    instead="make one with autobatch check TARGET `gpu=NAME` `save_baseline=FILE`",
    refuses_unknown_keys=True,
    find_fault=first_range_complaint,
)

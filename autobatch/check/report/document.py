"""A check as a JSON document.

Its keys are there to be relied on; ``requirements`` has one entry for each verdict, with the unit
of its figures.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Any

import msgspec

from autobatch.check.records import CheckReport, Measurement, Verdict
from autobatch.check.report.wording import typed_notes
from autobatch.records import RequirementName
from autobatch.reporting.codec import Document, Writer

_UNITS = {
    RequirementName.MAX_MEMORY: "bytes",
    RequirementName.MIN_CAPACITY: "bytes",
    RequirementName.MIN_FREE: "bytes",
    RequirementName.MIN_HEADROOM: "fraction",
    RequirementName.BASELINE_STEP_TIME: "fraction",
    RequirementName.BASELINE_MEMORY: "fraction",
    RequirementName.MIN_THROUGHPUT: "samples_per_s",
    RequirementName.MAX_STEP_TIME: "s",
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
        "samples_per_s": measurement.batch_size / step_time_s,
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
    }


CHECK = Writer(version=1, write=_write)

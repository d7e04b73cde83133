"""A measurement as a file, to hold later ones against."""

from __future__ import annotations

from autobatch.check.records import FEWEST_ROUNDS, NO_REFERENCE, Measurement
from autobatch.reporting.codec import Codec
from autobatch.reporting.validate import first_range_complaint


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

"""A tuning as a JSON document, and back."""

from __future__ import annotations

import msgspec

from autobatch.reporting.codec import Codec, Document
from autobatch.tuning.records import Tuning


def _write(tuning: Tuning) -> Document:
    low, high = tuning.interval
    return {
        "batch_size": tuning.batch_size,
        "changes": tuning.changes,
        "gradient_accumulation_steps": tuning.gradient_accumulation_steps,
        "speedup": tuning.speedup,
        "speedup_low": low,
        "speedup_high": high,
        **msgspec.to_builtins(tuning),
    }


def _find_contradiction(tuning: Tuning) -> tuple[str, str] | None:
    """Why what has the right types still cannot be a tuning."""
    count = len(tuning.attempts)
    if not count or tuning.attempts[0].changes:
        return "attempts", "the first is not the start"
    if not all(0 <= number < count for number in (tuning.chosen, *tuning.ladder)):
        return "chosen", "there is no such attempt"
    if not tuning.ladder or not tuning.attempts[tuning.chosen].ratios:
        return "ladder", "it has no settings that were measured"
    if any(len(each.rates_samples_per_s) != len(tuning.held[0].rates_samples_per_s)
           or not each.rates_samples_per_s for each in tuning.held):  # fmt: skip
        return "held", "its sides have not the same rounds"
    return None


TUNING = Codec(
    version=1,
    version_key="tuning_version",
    type=Tuning,
    what="a tuning",
    redo="make it again with autobatch tune TARGET -o FILE",
    instead="make one with autobatch tune TARGET -o FILE",
    write=_write,
    find_fault=_find_contradiction,
)

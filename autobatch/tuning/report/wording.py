"""Levers and attempts in words."""

from __future__ import annotations

from autobatch.tuning.levers import loader_options
from autobatch.tuning.records import Attempt, AttemptOutcome, Changes
from autobatch.units import format_bytes, format_change, format_count, format_seconds

START = "your settings"
_WORDS = {
    ("allocator", "keep"): "allocator keeps memory",
    ("allocator", "expandable_segments"): "expandable segments",
    ("channels_last", "on"): "channels last",
    ("checkpointing", "every_block"): "checkpointing",
    ("checkpointing", "every_second_block"): "checkpointing every second block",
    ("compile", "inductor"): "torch.compile",
    ("optimizer", "fused"): "fused optimizer",
    ("optimizer", "foreach"): "foreach optimizer",
    ("optimizer_state", "8bit"): "8-bit optimizer state",
}


def describe_lever(name: str, value: str) -> str:
    """A lever and its value: ``torch.compile``, ``threads 2``."""
    if name == "loader" and value.startswith("num_workers="):
        options = loader_options(value)
        workers, ahead = options["num_workers"], options.get("prefetch_factor")
        pinned = ", pinned" if options.get("pin_memory") else ""
        more = f", prefetch {ahead}" if ahead else ""
        return f"{workers} loader {'worker' if workers == 1 else 'workers'}{more}{pinned}"
    return _WORDS.get((name, value)) or (f"{name} {value}" if value else f"without {name}")


def describe_changes(changes: Changes) -> str:
    """Settings in a line."""
    return " + ".join(describe_lever(*each) for each in changes.items()) or START


def describe_attempt(attempt: Attempt) -> str:
    """What came of settings, in a line."""
    name = describe_changes(attempt.changes)
    if attempt.outcome is AttemptOutcome.NOT_EXACT:
        return f"{name}: not exact for this model: {attempt.message}"
    if attempt.outcome is AttemptOutcome.FAILED:
        return f"{name}: failed: {attempt.message}"
    parts = [f"batch size {format_count(attempt.batch_size or 0)}"]
    if attempt.peak_bytes is not None:
        parts.append(format_bytes(attempt.peak_bytes))
    if attempt.changes:
        parts.append(f"{format_change(attempt.ratio - 1)} samples/s")
    return f"{name}: {', '.join(parts)}, in {format_seconds(attempt.time_s)}"

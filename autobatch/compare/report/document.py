"""A comparison as a JSON document, and back."""

from __future__ import annotations

import msgspec

from autobatch.compare.records import Comparison
from autobatch.reporting.codec import Codec, Document


def _write(comparison: Comparison) -> Document:
    return {**msgspec.to_builtins(comparison), "is_complete": comparison.is_complete}


def _find_contradiction(comparison: Comparison) -> tuple[str, str] | None:
    """Why what has the right types still cannot be a comparison."""
    if any(run.batch_size < 1 for run in comparison.runs):
        return "", "a batch size is below 1"
    if any(len(run.iterations) != len(run.losses) for run in comparison.runs):
        return "", "a run has more losses than iterations, or fewer"
    if any(epoch.num_iterations < 1 for run in comparison.runs for epoch in run.epochs):
        return "", "an epoch has no iteration"
    return None


COMPARISON = Codec(
    version=1,
    version_key="comparison_version",
    type=Comparison,
    what="a comparison",
    redo="make it again with autobatch compare TARGET -o FILE",
    instead="make one with autobatch compare TARGET -o FILE",
    write=_write,
    find_fault=_find_contradiction,
)

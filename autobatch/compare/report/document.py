"""A comparison as a JSON document, and back."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from autobatch._version import __version__
from autobatch.compare.records import Comparison
from autobatch.errors import ResultFormatError
from autobatch.reporting.document import without_nonfinite
from autobatch.reporting.files import check_writable, write_atomically
from autobatch.reporting.reading import convert_value, format_error, read_document

COMPARISON_VERSION = 1

_REDO = "make it again with autobatch compare TARGET -o FILE"


def comparison_document(comparison: Comparison) -> dict[str, Any]:
    """A comparison as dicts, lists, strings and finite numbers."""
    document = {
        "comparison_version": COMPARISON_VERSION,
        "autobatch_version": __version__,
        **msgspec.to_builtins(comparison),
        "is_complete": comparison.is_complete,
    }
    plain: dict[str, Any] = without_nonfinite(document)
    return plain


def dumps_comparison(comparison: Comparison) -> str:
    """A comparison as indented JSON text that ends in a newline."""
    return json.dumps(comparison_document(comparison), indent=1, allow_nan=False) + "\n"


def save_comparison(comparison: Comparison, path: str | os.PathLike[str], overwrite: bool) -> None:
    """Write a comparison to a file, whole or not at all.

    Raises:
        SettingsError: If it cannot be written.
    """
    check_writable(path, overwrite)
    write_atomically(path, dumps_comparison(comparison).encode("utf-8"))


def holds_comparison(path: str | os.PathLike[str]) -> bool:
    """Whether a file says that it holds a comparison; not whether it can be read."""
    try:
        document = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(document, dict) and "comparison_version" in document


def load_comparison(path: str | os.PathLike[str]) -> Comparison:
    """Read a comparison that ``save_comparison`` wrote.

    Raises:
        ResultFormatError: If the file cannot be read or does not hold a comparison.
    """
    return read_document(
        path,
        comparison_from_document,
        redo=_REDO,
        instead="make one with autobatch compare TARGET -o FILE",
    )


def comparison_from_document(document: Any) -> Comparison:
    """The comparison that a document holds.

    Raises:
        ResultFormatError: If it is none; the message says where and why.
    """
    version = document.get("comparison_version") if isinstance(document, dict) else None
    if version is None:
        raise ResultFormatError("it does not hold a comparison", hint=_REDO)
    if version != COMPARISON_VERSION:
        reason = f"expected {COMPARISON_VERSION}, got {version!r:.40}"
        raise format_error("comparison_version", reason, redo=_REDO)
    comparison = convert_value(document, "", Comparison, redo=_REDO)
    complaint = _find_contradiction(comparison)
    if complaint:
        raise ResultFormatError(complaint, hint=_REDO)
    return comparison


def _find_contradiction(comparison: Comparison) -> str:
    """Why what has the right types still cannot be a comparison, or an empty string."""
    sizes = {run.batch_size for run in comparison.runs}
    if sizes != {summary.batch_size for summary in comparison.summaries}:
        return "runs and summaries are of different sizes"
    if any(size < 1 for size in sizes):
        return "a batch size is below 1"
    if any(len(run.iterations) != len(run.losses) for run in comparison.runs):
        return "a run has more losses than iterations, or fewer"
    if any(epoch.num_iterations < 1 for run in comparison.runs for epoch in run.epochs):
        return "an epoch has no iteration"
    return ""

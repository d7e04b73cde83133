"""A row of the table: what must hold, what was found."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """One bar.

    Attributes:
        name: What is held against what others measured.
        must: The bar in words.
        found: What was found.
        is_met: Whether the bar is met.
        details: One line for each case.
    """

    name: str
    must: str
    found: str
    is_met: bool
    details: tuple[str, ...] = ()


def percentile(values: Sequence[float], fraction: float) -> float:
    """The value below which a fraction of values lies, between neighbours in a line."""
    ordered = sorted(values)
    position = fraction * (len(ordered) - 1)
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (position - low) * (ordered[high] - ordered[low])


def row_of_errors(
    name: str,
    must: str,
    errors: dict[str, float],
    *,
    median: float,
    worst: float | None = None,
    p90: float | None = None,
    over: float | None = None,
    at_least: int = 1,
) -> Row:
    """The row for relative errors, each predicted over measured less one.

    Args:
        name: Of the row.
        must: The bar in words.
        errors: By case.
        median: Most that the median of the errors' sizes may be.
        worst: Most that any may be.
        p90: Most that nine of ten may be.
        over: Most that a prediction may be too high.
        at_least: Cases that there must be.
    """
    if len(errors) < at_least:
        return Row(name=name, must=must, found=f"{len(errors)} cases", is_met=False)
    sizes = [abs(error) for error in errors.values()]
    found = {"median": statistics.median(sizes), "p90": percentile(sizes, 0.9)}
    found |= {"worst": max(sizes), "over": max(errors.values())}
    bars = {"median": median, "p90": p90, "worst": worst, "over": over}
    shown = {key: value for key, value in found.items() if bars[key] is not None}
    return Row(
        name=name,
        must=must,
        found=", ".join(f"{key} {value:.4%}" for key, value in shown.items())
        + f", {len(errors)} cases",
        is_met=all(value <= (bars[key] or 0.0) for key, value in shown.items()),
        details=tuple(f"{error:+9.4%}  {case}" for case, error in errors.items()),
    )

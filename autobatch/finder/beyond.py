"""Searches that follow the answer; their failure does not affect it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.records import FindingWarning, Trial, WarningCode

#: Runs one size; ``None`` if it raised, after which the search is over.
Measure: TypeAlias = Callable[[int, TimingPlan], Trial | None]
#: Whether to stop with the results so far.
IsOver: TypeAlias = Callable[[], bool]


def failed(batch_size: int, plan: TimingPlan, cause: str) -> FindingWarning:
    """The warning for a search beyond the answer that ended in an error.

    Args:
        batch_size: The size that ran.
        plan: How it ran, and for what purpose.
        cause: What was raised, in one line.
    """
    figures: dict[str, float] = {"batch_size": batch_size}
    if plan.longest is not None:
        figures["longest"] = plan.longest
    is_evaluation = plan.purpose is Purpose.EVALUATION
    code = WarningCode.EVALUATION_FAILED if is_evaluation else WarningCode.LENGTHS_FAILED
    return FindingWarning(code=code, figures=figures, details=(cause,))

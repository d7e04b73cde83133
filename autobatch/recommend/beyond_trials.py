"""Warnings about memory that the trials of a search do not show: evaluation, rare samples."""

from __future__ import annotations

from collections.abc import Iterator

from autobatch.records import (
    Confirmation,
    FindingWarning,
    MemoryBudget,
    WarningCode,
    WorkloadSummary,
)


def find_warnings_beyond_trials(
    workload: WorkloadSummary, confirmation: Confirmation | None, budget: MemoryBudget
) -> Iterator[FindingWarning]:
    """What may take more memory than was measured.

    Args:
        workload: What is trained.
        confirmation: The final run, ``None`` if there was none.
        budget: Memory that may be used.
    """
    if confirmation is not None and confirmation.eval_fits is False:
        figures: dict[str, float] = {
            "batch_size": confirmation.batch_size,
            "eval_peak_bytes": confirmation.eval_peak_bytes or 0,
            "budget_bytes": budget.budget_bytes,
        }
        yield FindingWarning(code=WarningCode.EVALUATION_TOO_LARGE, figures=figures)
    lengths = workload.lengths
    if lengths is not None and lengths.differ and lengths.num_scanned < lengths.num_samples:
        figures = {
            "num_scanned": lengths.num_scanned,
            "num_samples": lengths.num_samples,
            "longest": lengths.longest,
        }
        yield FindingWarning(code=WarningCode.LENGTHS_PARTLY_SCANNED, figures=figures)

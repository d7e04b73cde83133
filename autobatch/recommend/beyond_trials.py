"""Warnings about memory that the trials of a search do not show: evaluation, rare samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from autobatch.records import (
    Confirmation,
    FindingWarning,
    LengthBucket,
    LengthScan,
    MemoryBudget,
    Phase,
    Settings,
    Trial,
    WarningCode,
    WorkloadSummary,
)


def find_warnings_beyond_trials(
    settings: Settings,
    workload: WorkloadSummary,
    confirmation: Confirmation | None,
    budget: MemoryBudget,
    buckets: tuple[LengthBucket, ...],
    failures: Mapping[Phase, FindingWarning],
    refused: Sequence[tuple[Trial, Trial]] = (),
) -> Iterator[FindingWarning]:
    """What may take more memory than was measured, and what was asked for without success.

    Args:
        settings: What was asked.
        workload: What is trained.
        confirmation: The final run, ``None`` if there was none.
        budget: Memory that may be used.
        buckets: Sizes by length.
        failures: Searches that ended in an error.
        refused: Final runs that did not fit, after the trials that did.
    """
    yield from failures.values()
    for trial, final in refused:
        figures: dict[str, float] = {
            "batch_size": final.batch_size,
            "trial_peak_bytes": trial.peak_bytes or 0,
            "final_peak_bytes": final.peak_bytes or 0,
            "budget_bytes": budget.budget_bytes,
        }
        details = (final.message or final.outcome.value.replace("_", " "),)
        yield FindingWarning(code=WarningCode.FINAL_RUN_TOO_LARGE, figures=figures, details=details)
    if confirmation is not None and confirmation.eval_fits is False:
        figures = {
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
    if settings.by_length and not buckets and Phase.LENGTHS not in failures:
        reason = _why_no_buckets(lengths)
        yield FindingWarning(code=WarningCode.NO_SIZES_BY_LENGTH, details=(reason,))


def _why_no_buckets(lengths: LengthScan | None) -> str:
    if lengths is None:
        return "the lengths of the samples are not known"
    if not lengths.differ:
        return f"all samples looked at are of one length, {lengths.longest} {lengths.measure}"
    return "none was found in the time that there was"

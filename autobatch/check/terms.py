"""At which size a target is checked, and in which words it failed."""

from __future__ import annotations

from autobatch.errors import SettingsError
from autobatch.records import Outcome, Trial, WorkloadSummary

_OUTCOMES = {
    Outcome.OUT_OF_MEMORY: "out of memory",
    Outcome.OVER_BUDGET: "more memory than there is to have",
    Outcome.KILLED: "killed",
    Outcome.TIMED_OUT: "timed out",
    Outcome.FAILED: "ended in an error",
}


def resolve_batch_size(asked: int | None, workload: WorkloadSummary) -> int:
    """Find the batch size to check.

    Args:
        asked: The size that the user named, if any.
        workload: The target, which may name the size that it trains with.

    Raises:
        SettingsError: If there is neither, or the dataset is smaller.
    """
    batch_size = asked or workload.base_batch_size
    if batch_size is None:
        raise SettingsError(
            "no batch size to check: none was given, and the target names none",
            hint="say which, such as `batch_size=64`",
        )
    num_samples, num_ranks = workload.dataset_size, workload.num_ranks
    if num_samples is not None and num_samples < batch_size * num_ranks:
        each = f" for each of {num_ranks} processes" if num_ranks > 1 else ""
        raise SettingsError(
            f"`batch_size={batch_size}`{each} is more than the dataset's {num_samples} samples",
            hint="lower `batch_size`",
        )
    return batch_size


def describe_failure(trial: Trial, *, num_before: int = 0) -> str:
    """Say why a trial did not fit, in words that follow a colon.

    Args:
        trial: A trial that did not fit.
        num_before: Rounds that fitted before it.
    """
    message = f": {trial.message}" if trial.message else ""
    before = f" after {num_before} rounds that fitted" if num_before else ""
    return f"{_OUTCOMES[trial.outcome]}{before}{message}"

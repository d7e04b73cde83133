"""What settings, workload and trials say together: the user's setting goes first."""

from __future__ import annotations

from autobatch.records import Settings, Trial, WorkloadSummary
from autobatch.records.settings import DEFAULT_BASE_BATCH_SIZE


def find_dataset_size(settings: Settings, workload: WorkloadSummary) -> int | None:
    """Find the samples in an epoch.

    Args:
        settings: The user's value comes first.
        workload: What the data says.

    Returns:
        Samples; ``None`` if unknown.
    """
    return settings.dataset_size or workload.dataset_size


def find_base_learning_rate(settings: Settings, workload: WorkloadSummary) -> float | None:
    """Find the learning rate to scale from.

    Args:
        settings: The user's value comes first.
        workload: The optimizer's own rate.

    Returns:
        The rate; ``None`` if unknown.
    """
    return settings.learning_rate or workload.base_learning_rate


def find_base_batch_size(settings: Settings, workload: WorkloadSummary) -> int:
    """Find the global batch size that the base rate goes with.

    Args:
        settings: The user's value comes first.
        workload: The loader's batch size, which is that of each of its processes.

    Returns:
        Samples; the default of most frameworks if unknown.
    """
    own = workload.base_batch_size or DEFAULT_BASE_BATCH_SIZE
    return settings.base_batch_size or own * workload.num_ranks


def find_fitting_trial(trials: tuple[Trial, ...], batch_size: int) -> Trial:
    """Find the trial in which a size ran and fitted.

    Args:
        trials: All trials.
        batch_size: A size that fitted.
    """
    found = [trial for trial in trials if trial.batch_size == batch_size and trial.fits]
    assert found, f"batch size {batch_size} is to be recommended and never fitted"
    return found[0]

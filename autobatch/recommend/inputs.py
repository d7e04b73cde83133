"""What settings, workload and trials say together: the user's setting goes first."""

from __future__ import annotations

from autobatch.records import Settings, Trial, WorkloadSummary

DEFAULT_BASE_BATCH_SIZE = 32


def find_dataset_size(settings: Settings, workload: WorkloadSummary) -> int | None:
    """Samples in an epoch, ``None`` if nobody says."""
    return settings.dataset_size or workload.dataset_size


def find_base_learning_rate(settings: Settings, workload: WorkloadSummary) -> float | None:
    """The learning rate to scale from, ``None`` if nobody says."""
    return settings.learning_rate or workload.base_learning_rate


def find_base_batch_size(settings: Settings, workload: WorkloadSummary) -> int:
    """The global batch size that the base rate goes with; if unset, that of most frameworks."""
    return settings.base_batch_size or workload.base_batch_size or DEFAULT_BASE_BATCH_SIZE


def find_fitting_trial(trials: tuple[Trial, ...], batch_size: int) -> Trial:
    """The trial in which a size ran and fitted."""
    found = [trial for trial in trials if trial.batch_size == batch_size and trial.fits]
    assert found, f"batch size {batch_size} is to be recommended and never fitted"
    return found[0]

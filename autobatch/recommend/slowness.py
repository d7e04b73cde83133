"""What makes training slow: each check is one small function."""

from __future__ import annotations

from autobatch.recommend.bottleneck import (
    data_fraction,
    has_costly_page_faults,
    waits_for_data,
)
from autobatch.recommend.evidence import Evidence, make_warning
from autobatch.records import FindingWarning, WarningCode

_FALL_FRACTION = 0.1
# The first steps may fill the cache; a limit that is met in every other step is met for good.
_OFTEN_PER_STEP = 0.5


def data_loading(evidence: Evidence) -> FindingWarning | None:
    """Steps that wait for their batches."""
    chosen = evidence.chosen
    if not waits_for_data(chosen) or chosen.data_time_s is None or chosen.step_time_s is None:
        return None
    return make_warning(
        WarningCode.DATA_LOADING,
        data_fraction=data_fraction(chosen),
        data_time_s=chosen.data_time_s,
        step_time_s=chosen.step_time_s,
        num_loader_workers=evidence.workload.num_loader_workers,
    )


def page_faults(evidence: Evidence) -> FindingWarning | None:
    """Memory that the recommended size, or a larger one, faults in again at every step."""
    chosen = evidence.chosen
    larger = [trial for trial in evidence.fitting if trial.batch_size > chosen.batch_size]
    for trial in (chosen, *reversed(larger)):
        faults, kernel = trial.page_faults_per_step, trial.kernel_time_fraction
        if has_costly_page_faults(trial) and faults is not None and kernel is not None:
            return make_warning(
                WarningCode.PAGE_FAULTS,
                page_faults_per_step=faults,
                kernel_time_fraction=kernel,
                batch_size=trial.batch_size,
            )
    return None


def alloc_retries(evidence: Evidence) -> FindingWarning | None:
    """A size that fits, and is slow: the allocator gives its cache back in every step."""
    per_step = evidence.chosen.alloc_retries_per_step
    if per_step is None or per_step < _OFTEN_PER_STEP:
        return None
    return make_warning(
        WarningCode.ALLOC_RETRIES,
        batch_size=evidence.chosen.batch_size,
        alloc_retries_per_step=per_step,
    )


def falling_throughput(evidence: Evidence) -> FindingWarning | None:
    """Larger sizes that are slower than the recommended one, beyond both intervals."""
    chosen = evidence.decision.estimate_of(evidence.answer.batch_size)
    if chosen is None:
        return None
    slower = [
        each
        for each in evidence.decision.estimates
        if each.batch_size > chosen.batch_size
        and each.samples_per_s < (1 - _FALL_FRACTION) * chosen.samples_per_s
        and each.high < chosen.low
    ]
    if not slower:
        return None
    worst = min(slower, key=lambda each: each.samples_per_s)
    return make_warning(
        WarningCode.FALLING_THROUGHPUT,
        batch_size=chosen.batch_size,
        samples_per_s=chosen.samples_per_s,
        worst_batch_size=worst.batch_size,
        worst_samples_per_s=worst.samples_per_s,
    )

"""What a check compares, at which size, and in which words a trial failed."""

from __future__ import annotations

from autobatch.check.judge.likeness import (
    Difference,
    find_hardware_differences,
    find_other_differences,
    find_task_differences,
)
from autobatch.check.records import Measurement
from autobatch.errors import BaselineError, SettingsError
from autobatch.probe.protocol import Loaded
from autobatch.records import Outcome, Trial

_OUTCOMES = {
    Outcome.OUT_OF_MEMORY: "out of memory",
    Outcome.OVER_BUDGET: "more memory than there is to have",
    Outcome.KILLED: "killed",
    Outcome.TIMED_OUT: "timed out",
}


def resolve_batch_size(asked: int | None, loaded: Loaded) -> int:
    """The batch size to check: the one asked for, or the one that the target trains with.

    Raises:
        SettingsError: If there is neither, or the dataset is smaller.
    """
    batch_size = asked or loaded.workload.base_batch_size
    if batch_size is None:
        raise SettingsError(
            "no batch size to check: none was given, and the target names none",
            hint="add --batch-size, such as --batch-size 64",
        )
    num_samples = loaded.workload.dataset_size
    if num_samples is not None and num_samples < batch_size:
        raise SettingsError(
            f"--batch-size {batch_size} is more than the dataset's {num_samples} samples",
            hint="lower --batch-size",
        )
    return batch_size


def refuse_or_note(
    now: Measurement, baseline: Measurement, *, any_hardware: bool
) -> tuple[bool, list[str]]:
    """Whether times can be compared with a baseline, and what to know of the comparison.

    Raises:
        BaselineError: If nothing can be compared, or times cannot and ``any_hardware`` is not
            set.
    """
    task = find_task_differences(now, baseline)
    if task:
        raise BaselineError(
            f"the baseline is of something else: {_list(task)}",
            hint="check what it was made of, or make a new one with --save-baseline",
        )
    notes = [
        f"Not as in the baseline: {_list([each])}" for each in find_other_differences(now, baseline)
    ]
    hardware = find_hardware_differences(now, baseline)
    if not hardware:
        return True, notes
    if not any_hardware:
        raise BaselineError(
            f"the baseline was made elsewhere: {_list(hardware)}",
            hint="compare memory alone with --any-hardware, or make one here with --save-baseline",
        )
    return False, [f"Memory alone was compared: {_list(hardware)}", *notes]


def describe_failure(trial: Trial, *, num_before: int = 0) -> str:
    """Why a trial did not fit, in words that follow a colon."""
    message = f": {trial.message}" if trial.message else ""
    before = f" after {num_before} rounds that fitted" if num_before else ""
    return f"{_OUTCOMES[trial.outcome]}{before}{message}"


def _list(differences: list[Difference]) -> str:
    return "; ".join(f"{each.what} {each.before} then, {each.now} now" for each in differences)

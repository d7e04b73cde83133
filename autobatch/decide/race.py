"""What timing sizes again costs, and a final run."""

from __future__ import annotations

from autobatch.decide.numbers import Numbers
from autobatch.records import Trial

# Optimizer state appears in the first step, and gradients stay from then on.
_NUM_WARMUP_STEPS = 2
# A process for the trial, its first batch, an evaluation.
_START_TIME_S = 1.0


def race_time_s(trial: Trial, numbers: Numbers) -> float:
    """Predict how long it takes to time a size once more.

    Args:
        trial: The size's trial so far.
        numbers: Tuned numbers.

    Returns:
        Seconds.
    """
    step_time_s = trial.step_time_s or 0.0
    return _NUM_WARMUP_STEPS * step_time_s + max(numbers.race_window_s, step_time_s)


def final_time_s(trial: Trial, numbers: Numbers) -> float:
    """Predict how long the final run of a size takes at most.

    Args:
        trial: The size's trial so far.
        numbers: Tuned numbers.

    Returns:
        Seconds.
    """
    step_time_s = trial.step_time_s or 0.0
    window_s = min(numbers.final_steps * step_time_s, numbers.patience_s)
    num_windows = numbers.final_windows
    window_s = num_windows * max(numbers.final_window_s, window_s)
    return _START_TIME_S + _NUM_WARMUP_STEPS * step_time_s + window_s

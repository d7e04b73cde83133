"""Timing sizes again, in turn: which sizes race in a round, and whether there is time for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from autobatch.decide.numbers import Numbers
from autobatch.records import Trial

# Optimizer state appears in the first step, and gradients stay from then on.
_NUM_WARMUP_STEPS = 2
# A process for the trial, its first batch, an evaluation.
_START_TIME_S = 1.0


def pick_round(
    to_race: Sequence[int],
    trials: Mapping[int, Trial],
    spent_s: Mapping[int, float],
    numbers: Numbers,
) -> tuple[int, ...]:
    """Pick the sizes that race in the next round.

    A round of a large size can cost as much as ten of a small one. So the size that has had the
    least time races, together with all that have not had several times as much; always at least
    two, because it is their ratio that counts.

    Args:
        to_race: Sizes in doubt, and those they are compared with.
        trials: Their trials, by batch size.
        spent_s: Seconds spent on racing each so far.
        numbers: Tuned numbers.

    Returns:
        Sizes to time in turn, ascending.
    """

    def time_with(size: int) -> float:
        return spent_s.get(size, 0.0) + race_time_s(trials[size], numbers)

    by_time = sorted(to_race, key=time_with)
    most_s = numbers.fair_share * time_with(by_time[0])
    fair = [size for size in by_time if time_with(size) <= most_s]
    return tuple(sorted({*by_time[:2], *fair}))


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


def is_worth_a_round(
    cost_s: float, *, search_s: float, raced_s: float, noise_fraction: float, numbers: Numbers
) -> bool:
    """Decide whether to spend another round on the sizes in doubt.

    The race may take a fraction of the time of the search. Where timings scatter, it may also
    take a few seconds after a short search; a quiet device needs no such minimum.

    Args:
        cost_s: Seconds that the round will take.
        search_s: Seconds of the search so far, racing excluded.
        raced_s: Seconds of racing so far.
        noise_fraction: Run-to-run standard deviation on this machine.
        numbers: Tuned numbers.
    """
    is_quiet = noise_fraction < numbers.quiet_noise
    allowed_s = numbers.quiet_race_fraction * search_s
    if not is_quiet:
        allowed_s = max(numbers.race_time_s, numbers.race_fraction * search_s)
    return raced_s + cost_s <= allowed_s

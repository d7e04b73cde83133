"""Whether sizes above the recommended one are slower, by more than their step times vary."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.records import Trial

_FALL_FRACTION = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """The slowest size above the recommended one.

    Attributes:
        worst: Its trial.
        worst_samples_per_s: Its throughput.
    """

    worst: Trial
    worst_samples_per_s: float


def find_fall(chosen: Trial, fitting: tuple[Trial, ...]) -> Fall | None:
    """The fall of the throughput beyond the recommended size; ``None`` if it does not fall.

    Args:
        chosen: Trial of the recommended size.
        fitting: Trials that fitted.
    """
    chosen_rate = chosen.samples_per_s or 0.0
    slower = [
        (trial.samples_per_s, trial)
        for trial in fitting
        if trial.batch_size > chosen.batch_size
        and trial.samples_per_s is not None
        and trial.samples_per_s < (1 - _FALL_FRACTION) * chosen_rate
        and _is_beyond_spread(chosen_rate, chosen, trial.samples_per_s, trial)
    ]
    if not slower:
        return None
    worst_rate, worst = min(slower, key=lambda pair: pair[0])
    return Fall(worst=worst, worst_samples_per_s=worst_rate)


def _is_beyond_spread(chosen_rate: float, chosen: Trial, slower_rate: float, slower: Trial) -> bool:
    """Whether even the quick steps of the slower size are slower than the chosen's slow ones."""
    low_of_chosen = chosen_rate / (1 + _spread_fraction(chosen) / 2)
    high_of_slower = slower_rate / max(1 - _spread_fraction(slower) / 2, 1e-9)
    return high_of_slower < low_of_chosen


def _spread_fraction(trial: Trial) -> float:
    spread, times = trial.spread_fraction, trial.step_times_s
    if spread is not None or trial.step_time_s is None:
        return spread or 0.0
    return (max(times) - min(times)) / trial.step_time_s

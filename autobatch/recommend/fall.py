"""Whether larger batches are slower, by more than their step times vary."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.records import Trial

_FALL_FRACTION = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """The fastest size and the slowest above it.

    Attributes:
        best: Trial of the fastest size.
        best_samples_per_s: Its throughput.
        worst: Trial of the slowest size above it.
        worst_samples_per_s: Its throughput.
    """

    best: Trial
    best_samples_per_s: float
    worst: Trial
    worst_samples_per_s: float


def find_fall(fitting: tuple[Trial, ...]) -> Fall | None:
    """The fall of the throughput beyond its best; ``None`` if it does not fall.

    Args:
        fitting: Trials that fitted, by batch size.
    """
    rates = [(t.samples_per_s, t) for t in fitting if t.samples_per_s is not None]
    if not rates:
        return None
    best_rate, best = max(rates, key=lambda pair: pair[0])
    slower = [
        (rate, trial)
        for rate, trial in rates
        if trial.batch_size > best.batch_size
        and rate < (1 - _FALL_FRACTION) * best_rate
        and _is_beyond_spread(best_rate, best, rate, trial)
    ]
    if not slower:
        return None
    worst_rate, worst = min(slower, key=lambda pair: pair[0])
    return Fall(
        best=best, best_samples_per_s=best_rate, worst=worst, worst_samples_per_s=worst_rate
    )


def _is_beyond_spread(best_rate: float, best: Trial, slower_rate: float, slower: Trial) -> bool:
    """Whether even the quick steps of the slower size are slower than the best's slow ones."""
    low_of_best = best_rate / (1 + _spread_fraction(best) / 2)
    high_of_slower = slower_rate / max(1 - _spread_fraction(slower) / 2, 1e-9)
    return high_of_slower < low_of_best


def _spread_fraction(trial: Trial) -> float:
    spread, times = trial.spread_fraction, trial.step_times_s
    if spread is not None or trial.step_time_s is None:
        return spread or 0.0
    return (max(times) - min(times)) / trial.step_time_s

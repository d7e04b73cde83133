"""The smallest batch size that is as fast as the best, and the size to train with."""

from __future__ import annotations

import math
from collections.abc import Mapping

from autobatch.decide.epochs import epoch_time_s
from autobatch.decide.rates import Rates
from autobatch.records import Settings, ThroughputCurve, Trial

_DOUBT = 3.0
# In standard errors: an answer that is too small costs time at every step, one that is too large
# costs memory that is there.
_CAUTION = 0.65


def epoch_efficiencies(
    trials: Mapping[int, Trial],
    curve: ThroughputCurve | None,
    *,
    dataset_size: int | None,
    settings: Settings,
) -> dict[int, float]:
    """Share of each size's throughput that is left over a whole epoch.

    What is minimised is the time of an epoch: a last, smaller batch costs more per sample.

    Returns:
        By batch size, the samples per second over an epoch divided by those of full batches;
        empty where the dataset's size is unknown.
    """
    if dataset_size is None or settings.drop_last:
        return {}
    efficiencies = {}
    for size, trial in trials.items():
        if trial.step_time_s is None or size > dataset_size:
            continue
        whole_s = epoch_time_s(dataset_size, size, trial.step_time_s, curve)
        efficiencies[size] = dataset_size / whole_s / (size / trial.step_time_s)
    return efficiencies


def find_knee(rates: Rates, measured: Rates, *, tolerance_fraction: float) -> int:
    """The smallest size whose throughput is within the tolerance of the best.

    Args:
        rates: Of the sizes that ran, drawn towards the fitted curve where they are uncertain.
        measured: The same without the curve. A size whose own timings contradict the curve's
            promise, beyond their error, is not taken.
        tolerance_fraction: How far below the best throughput the answer may lie.
    """
    best, fastest = rates.best(), measured.best()
    threshold = math.log1p(-tolerance_fraction)
    for size in rates.sizes:
        log_ratio, error = rates.log_ratio(size, best)
        seen, seen_error = measured.log_ratio(size, fastest)
        is_contradicted = seen + _DOUBT * seen_error < threshold
        if size == best or (log_ratio - _CAUTION * error >= threshold and not is_contradicted):
            return size
    return best

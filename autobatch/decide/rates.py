"""How much faster one size is than another, on a machine whose speed drifts.

Steps timed without a break make a cell (size, round). Sizes timed in turn share a round, and
what the machine did during it slows all of them: the log of a cell's throughput is modelled as

    log rate(size, round) = rate of the size + drift of the round + noise

First runs (round 0) were made one after the other, so each drifts on its own. The model is
linear; generalised least squares gives the rates with their covariance, and Huber weights
(Huber 1964) keep a cell that something disturbed from moving the others.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from autobatch.records import ThroughputCurve, TimingRound, Trial

# Logs. On a shared virtual machine the speed was seen to wander by 0.15 to 0.17 with a correlation
# time of about six seconds; ratios of sizes timed in turn, by 0.1 and more from round to round; one
# process in seven is slower than the others for all its life, and a few are half as fast. There,
# steps of one cell strayed by 0.05 and more. Quieter machines show it in that, and in the scatter
# of the cells; both scale all of these.
_DRIFT_BETWEEN_ROUNDS = 0.2
_DRIFT_OF_FIRST_RUNS = 0.2
_NOISE_WITHIN_ROUND = 0.15
_STEP_SPREAD = 0.05
_QUIETEST = 0.3
_SMALLEST_ERROR = 0.005
_CORRELATED_SHARE = 0.4
_HUBER_THRESHOLD = 1.0
_NUM_REWEIGHTINGS = 5
# What the figures above count for, in observations, beside the scatter that is seen.
_PRIOR_FREEDOM = 2


@dataclass(frozen=True, slots=True)
class Rates:
    """Log throughputs of several sizes with their covariance.

    Attributes:
        sizes: Batch sizes, ascending.
        logs: Natural log of samples per second, one per size.
        covariance: Of ``logs``.
    """

    sizes: tuple[int, ...]
    logs: np.ndarray
    covariance: np.ndarray

    def log_rate(self, size: int) -> float:
        """Log throughput of a size."""
        return float(self.logs[self.sizes.index(size)])

    def log_ratio(self, size: int, other: int) -> tuple[float, float]:
        """Log of ``rate(size) / rate(other)``, and its standard error."""
        a, b = self.sizes.index(size), self.sizes.index(other)
        variance = self.covariance[a, a] + self.covariance[b, b] - 2 * self.covariance[a, b]
        return float(self.logs[a] - self.logs[b]), math.sqrt(max(0.0, float(variance)))

    def scaled(self, factors: Mapping[int, float]) -> Rates:
        """The same rates, each multiplied by a factor of its size."""
        logs = self.logs + np.log([factors.get(size, 1.0) for size in self.sizes])
        return Rates(self.sizes, logs, self.covariance)

    def best(self) -> int:
        """The size with the highest rate."""
        return self.sizes[int(np.argmax(self.logs))]


def estimate_rates(trials: Mapping[int, Trial], curve: ThroughputCurve | None = None) -> Rates:
    """Estimate the throughput of every timed size.

    Args:
        trials: Trials by batch size.
        curve: A fitted curve. If it is good, how far the points lie from it tells, with their
            scatter from round to round, how noisy the machine is.

    Returns:
        The rates of the sizes that were timed.
    """
    timed = {size: trials[size] for size in sorted(trials) if trials[size].step_time_s}
    rates, scatter, freedom = _solve(timed)
    if curve is not None and curve.is_good:
        terms = deviations(rates, curve) ** 2 / np.diag(rates.covariance)
        ran_once = [len(trial.rounds) == 1 for trial in timed.values()]
        scatter += float(np.sum(terms[ran_once]))
        freedom += max(0, sum(ran_once) - curve.num_terms)
    scale = (_PRIOR_FREEDOM + scatter) / (_PRIOR_FREEDOM + freedom)
    return Rates(rates.sizes, rates.logs, scale * rates.covariance)


def cell_log_error(step_times_s: Sequence[float]) -> float:
    """Standard error of the log of the median step time of one cell.

    From the interquartile range where there are four steps or more; from the range below that.
    However many steps there are, the error stays above four tenths of their spread: what
    disturbs a machine lasts longer than a step, so that neighbouring steps are disturbed alike
    (cells of 15 steps, timed in turn, were seen to differ by half of the spread within them).
    """
    count = len(step_times_s)
    if count < 2:
        return 0.05
    share = max(_CORRELATED_SHARE, 1.2533 / math.sqrt(count))
    return max(_SMALLEST_ERROR, _spread(step_times_s) * share)


def _spread(step_times_s: Sequence[float]) -> float:
    """Standard deviation of two step times or more, over their median."""
    times = sorted(step_times_s)
    if len(times) >= 4:
        quarters = statistics.quantiles(times, n=4, method="inclusive")
        sigma = (quarters[2] - quarters[0]) / 1.349
    else:
        sigma = (times[-1] - times[0]) / 1.7  # expected range of three normal values
    return sigma / statistics.median(times)


def _restlessness(rounds: Iterable[TimingRound]) -> float:
    """What the usual noise of a cell is to be multiplied with, from that between its steps."""
    spreads = [_spread(each.step_times_s) for each in rounds if len(each.step_times_s) > 1]
    if not spreads:
        return 1.0
    return min(1.0, max(_QUIETEST, statistics.median(spreads) / _STEP_SPREAD))


def huber_weights(residuals: np.ndarray) -> np.ndarray:
    """Weights that keep what lies far off from moving the rest.

    Args:
        residuals: Absolute residuals in standard errors.
    """
    return np.asarray(np.minimum(1.0, _HUBER_THRESHOLD / np.maximum(residuals, 1e-12)))


def _solve(timed: Mapping[int, Trial]) -> tuple[Rates, float, int]:
    sizes = tuple(timed)
    cells = [
        (size, each.number, math.log(size / statistics.median(each.step_times_s)), each)
        for size, trial in timed.items()
        for each in trial.rounds
    ]
    restlessness = _restlessness(each for *_, each in cells)
    numbers = sorted({number for _, number, _, _ in cells if number > 0})
    columns = {("size", size): index for index, size in enumerate(sizes)}
    columns |= {("round", number): len(sizes) + i for i, number in enumerate(numbers)}
    rows = len(cells) + len(numbers)
    design = np.zeros((rows, len(columns)))
    values = np.zeros(rows)
    # Those of the drifts themselves, about zero, stay in the last rows.
    errors = np.full(rows, restlessness * _DRIFT_BETWEEN_ROUNDS)
    for row, (size, number, log_rate, each) in enumerate(cells):
        design[row, columns["size", size]] = 1
        values[row] = log_rate
        extra = _DRIFT_OF_FIRST_RUNS
        if number > 0:
            design[row, columns["round", number]] = 1
            extra = _NOISE_WITHIN_ROUND
        errors[row] = math.hypot(cell_log_error(each.step_times_s), restlessness * extra)
    for row, number in enumerate(numbers, start=len(cells)):
        design[row, columns["round", number]] = 1
    solution, covariance, scatter = _huber(design, values, errors)
    count = len(sizes)
    rates = Rates(sizes, solution[:count], covariance[:count, :count])
    return rates, scatter, len(cells) - count


def _huber(
    design: np.ndarray, values: np.ndarray, errors: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    weights = np.ones(len(values))
    for _ in range(_NUM_REWEIGHTINGS):
        scale = np.sqrt(weights) / errors
        covariance = np.linalg.inv((design * scale[:, None]).T @ (design * scale[:, None]))
        solution = covariance @ (design * (scale**2)[:, None]).T @ values
        residuals = np.abs((values - design @ solution) / errors)
        weights = huber_weights(residuals)
    return solution, covariance, float(np.sum(weights * residuals**2))


def deviations(rates: Rates, curve: ThroughputCurve) -> np.ndarray:
    """How far each log rate lies above a curve."""
    return rates.logs - np.log([curve.samples_per_s(size) for size in rates.sizes])

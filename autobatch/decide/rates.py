"""How fast each size is, and how sure that is, on a machine whose speed drifts.

Steps timed without a break form a cell (size, round). Sizes that race share a round, so that the
state of the machine during it affects all of them alike; first runs (round 0) follow one another,
so each has a round of its own. One linear mixed model (Henderson 1975; Gelman et al., Bayesian Data
Analysis, 3rd edition 2013, chapter 15) describes all cells::

    log rate(size, round) = curve(size) + deviation(size) + drift(round) + noise(size, round)

The curve is that of ``autobatch.decide.curve``, linear in the logs of its coefficients near the
fitted ones. Deviations have the residual standard deviation of the sizes about a smooth curve.
Drift and noise have one standard deviation, the noise of this machine: between processes, and from
one moment to the next. Neither is assumed: every pair of the two on a grid is weighted by the
likelihood of the observed cells (empirical Bayes averaged over the grid, same book, section 5.4).
So a quiet device is believed after a few cells, and a busy machine never is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from autobatch.decide.curve import Fit, fit_step_time
from autobatch.decide.numbers import Numbers
from autobatch.records import ThroughputCurve, Trial

#: Half the width of a 90 % interval of a normal distribution, in standard errors.
NORMAL_90 = 1.645
# Standard deviations in logs, from a quiet device to a machine that is too busy to measure on.
_NOISES = np.geomspace(0.0025, 0.64, 13)
_MISFITS = np.geomspace(0.005, 0.32, 7)
# Prior standard deviation of the log coefficients of the curve: wide enough to say nothing.
_ANY = 3.0
# Once to see which cells lie far off, and once without them.
_NUM_PASSES = 2
# The median of n normal values has 1.57 / n of their variance.
_MEDIAN_VARIANCE = math.pi / 2


@dataclass(frozen=True, slots=True)
class Rates:
    """Log throughputs of several sizes with their covariance.

    Attributes:
        sizes: Batch sizes, ascending.
        logs: Natural log of samples per second, shape ``(n,)``.
        covariance: Of ``logs``, shape ``(n, n)``.
    """

    sizes: tuple[int, ...]
    logs: np.ndarray
    covariance: np.ndarray

    def log_rate(self, size: int) -> float:
        """Log throughput of a size."""
        return float(self.logs[self.sizes.index(size)])

    def log_ratio(self, size: int, other: int) -> tuple[float, float]:
        """Compare two sizes.

        Args:
            size: A size that was timed.
            other: Another.

        Returns:
            Log of ``rate(size) / rate(other)``, and its standard error.
        """
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Estimates from the timings of all sizes together.

    Attributes:
        rates: Of the sizes that were timed.
        curve: The curve through them; ``None`` with fewer than three sizes.
        noise_fraction: Standard deviation of a cell's log rate beyond the scatter of its own steps.
        doubtful: The same rates where the terms that the curve leaves out may be hidden by noise:
            closer to what was measured, and less sure.
        outlying: Sizes with a single cell, which counts for less since it lies off: something
            disturbed it, or the size is not as the others are.
    """

    rates: Rates
    curve: ThroughputCurve | None
    noise_fraction: float
    doubtful: Rates
    outlying: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class _Cells:
    """All cells as arrays: ``log_rates`` and ``variances`` have the shape ``(m,)``.

    Attributes:
        sizes: Batch sizes, ascending.
        of_size: Which size each cell is of, shape ``(m, n)``.
        of_round: Which round each cell is of, shape ``(m, r)``.
        log_rates: Log of the batch size over the median step time.
        variances: Of ``log_rates``, from the scatter of the steps within a cell.
    """

    sizes: tuple[int, ...]
    of_size: np.ndarray
    of_round: np.ndarray
    log_rates: np.ndarray
    variances: np.ndarray


def estimate(trials: Mapping[int, Trial], numbers: Numbers) -> Timings:
    """Estimate the throughput of every timed size.

    Args:
        trials: Trials that fitted, by batch size.
        numbers: Tuned numbers.

    Returns:
        The rates of the sizes that were timed, and the curve through them.
    """
    cells = _collect(trials)
    if not cells.sizes:
        none = Rates((), np.zeros(0), np.zeros((0, 0)))
        return Timings(rates=none, curve=None, noise_fraction=0, doubtful=none)
    as_timed = cells.variances
    for _ in range(_NUM_PASSES):
        weighted = cells
        alone, _, _ = _combine(cells, None, numbers)
        sizes = np.array(cells.sizes, dtype=float)
        errors = np.sqrt(np.diag(alone.covariance)) + 1e-6
        fit = fit_step_time(sizes, sizes / np.exp(alone.logs), errors)
        rates, noise, band = _combine(cells, fit, numbers)
        cells = _reweighted(cells, rates, noise, numbers)
    doubtful = rates
    if fit is not None and fit.left_out.size:
        doubtful, _, _ = _combine(weighted, fit, numbers, hidden_term=numbers.hidden_term)
    curve = None if fit is None else _finish(fit, rates, band, numbers)
    is_off = cells.variances > as_timed
    is_alone = cells.of_size.sum(axis=0) == 1
    outlying = frozenset(
        size
        for size, off, alone in zip(cells.sizes, is_off @ cells.of_size > 0, is_alone, strict=True)
        if off and alone
    )
    return Timings(
        rates=rates, curve=curve, noise_fraction=noise, doubtful=doubtful, outlying=outlying
    )


def _collect(trials: Mapping[int, Trial]) -> _Cells:
    timed = {size: trials[size] for size in sorted(trials) if trials[size].step_time_s}
    cells = [
        (index, each.number, size, each.step_times_s)
        for index, (size, trial) in enumerate(timed.items())
        for each in trial.rounds
        if each.step_times_s
    ]
    rounds = [number or -row for row, (_, number, _, _) in enumerate(cells, start=1)]
    medians = [statistics.median(times_s) for *_, times_s in cells]
    step_variance = _pool_step_variance([times_s for *_, times_s in cells], medians)
    of_size = np.zeros((len(cells), len(timed)))
    of_size[range(len(cells)), [index for index, *_ in cells]] = 1
    return _Cells(
        sizes=tuple(timed),
        of_size=of_size,
        of_round=np.equal.outer(rounds, list(dict.fromkeys(rounds))).astype(float),
        log_rates=np.log([cell[2] / time_s for cell, time_s in zip(cells, medians, strict=True)]),
        variances=np.array([_MEDIAN_VARIANCE * step_variance / len(t) for *_, t in cells]),
    )


def _pool_step_variance(all_times_s: list[tuple[float, ...]], medians_s: list[float]) -> float:
    """Variance of the log of a step time about its cell's median, over all cells, robustly."""
    deviations = [
        abs(math.log(time_s / median_s))
        for times_s, median_s in zip(all_times_s, medians_s, strict=True)
        if len(times_s) > 2
        for time_s in times_s
    ]
    return (statistics.median(deviations) / 0.6745) ** 2 if deviations else 0.0


def _combine(
    cells: _Cells, fit: Fit | None, numbers: Numbers, *, hidden_term: float = 0.0
) -> tuple[Rates, float, np.ndarray | None]:
    """Solve the mixed model, averaged over noise and residual standard deviation.

    With ``K`` the prior covariance of the log rates about the curve, ``A`` the precision of the
    cells as a measurement of the rates, and ``b`` that precision times the measured deviations
    from the curve, the posterior mean is ``C b`` above the curve and its covariance is
    ``C = (K^-1 + A)^-1 = (1 + K A)^-1 K`` (best linear unbiased prediction). Without a curve the
    prior is flat.

    Returns:
        The rates; the expected noise; the covariance of the curve's log rates, if there is one.
    """
    count = len(cells.sizes)
    identity = np.eye(count)
    if fit is None:
        middle = np.full(count, float(np.mean(cells.log_rates)))
        from_curve, misfits = _ANY**2 * identity, np.zeros(1)
        penalties = np.zeros(1)
    else:
        middle = np.log(cells.sizes) - fit.log_times
        from_curve, misfits = _ANY**2 * fit.jacobian @ fit.jacobian.T, _MISFITS
        penalties = numbers.misfit_penalty * np.log(_MISFITS / _MISFITS[0])
    seen = _sum_up(cells, cells.log_rates - cells.of_size @ middle)
    # Every pair of a noise and a residual standard deviation, along the first axis.
    precisions, pulls = (np.repeat(each, len(misfits), axis=0) for each in seen[:2])
    priors = from_curve + np.tile(misfits, len(_NOISES))[:, None, None] ** 2 * identity
    if fit is not None and hidden_term:
        hidden = hidden_term * np.repeat(_NOISES, len(misfits))
        priors += hidden[:, None, None] ** 2 * (fit.left_out @ fit.left_out.T)
    widening = identity + priors @ precisions
    shrinking = np.linalg.inv(widening)
    covariances = shrinking @ priors
    shifts = np.einsum("kij,kj->ki", covariances, pulls)
    evidence = np.repeat(seen[2], len(misfits)) - np.tile(penalties, len(_NOISES))
    evidence += (np.einsum("ki,ki->k", pulls, shifts) - np.linalg.slogdet(widening)[1]) / 2
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    shift = weights @ shifts
    between = shifts - shift
    covariance = np.einsum("k,kij->ij", weights, covariances)
    covariance += np.einsum("k,ki,kj->ij", weights, between, between)
    noise = float(np.exp(weights @ np.log(np.repeat(_NOISES, len(misfits)))))
    rates = Rates(cells.sizes, middle + shift, covariance)
    if fit is None:
        return rates, noise, None
    told = np.einsum("k,kij->ij", weights, precisions @ shrinking)
    return rates, noise, from_curve - from_curve @ told @ from_curve


def _sum_up(cells: _Cells, residuals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum the cells up by size, for each noise, with the drift of each round unknown.

    The covariance of the cells of a round is diagonal but for the drift that all of them share,
    so that its inverse is known (Sherman and Morrison 1950).

    Returns:
        The precision of the sizes' log rates, shape ``(noises, n, n)``; that precision times the
        log rates, shape ``(noises, n)``; the log likelihood where the log rates are zero.
    """
    drifts = (_NOISES**2)[:, None]
    variances = cells.variances + drifts
    weighted = cells.of_size / variances[:, :, None]
    by_round = cells.of_round.T @ weighted
    amounts = 1 + drifts * ((1 / variances) @ cells.of_round)
    shared = drifts / amounts
    precisions = cells.of_size.T @ weighted
    precisions = precisions - by_round.transpose(0, 2, 1) @ (shared[:, :, None] * by_round)
    off = residuals / variances
    off_by_round = off @ cells.of_round
    pulls = off @ cells.of_size - np.einsum("kr,krn->kn", shared * off_by_round, by_round)
    squares = off @ residuals - np.sum(shared * off_by_round**2, axis=1)
    log_determinants = np.sum(np.log(variances), axis=1) + np.sum(np.log(amounts), axis=1)
    return precisions, pulls, -(squares + log_determinants) / 2


def _reweighted(cells: _Cells, rates: Rates, noise: float, numbers: Numbers) -> _Cells:
    """Give outlying cells less weight, so that one of them does not move the other sizes."""
    error = np.sqrt(cells.variances + 2 * noise**2)
    off = np.abs(cells.log_rates - cells.of_size @ rates.logs) / error
    excess = np.maximum(1.0, off / numbers.outlier) ** 2 - 1
    return replace(cells, variances=cells.variances + excess * error**2)


def _finish(
    fit: Fit, rates: Rates, covariance: np.ndarray | None, numbers: Numbers
) -> ThroughputCurve:
    residuals = rates.logs - np.log([fit.curve.samples_per_s(size) for size in rates.sizes])
    assert covariance is not None
    errors = NORMAL_90 * np.sqrt(np.maximum(0.0, np.diag(covariance)))
    band = tuple(
        (size, size * math.exp(-log_time - error), size * math.exp(-log_time + error))
        for size, log_time, error in zip(rates.sizes, fit.log_times, errors, strict=True)
    )
    rms = math.sqrt(float(np.mean(residuals**2)))
    return replace(fit.curve, is_good=rms <= numbers.good_misfit, band=band)

"""Step time against batch size, and with it the throughput.

What is fitted is the step time, since it is what was measured. Its terms cannot be negative:
a latency, a cost per sample, and one term for what gets worse with size, so that the
throughput may fall: a further cost per sample from some size on (caches, page faults), or one
that grows with the square of the size. The number of terms is chosen by the corrected Akaike
criterion (Hurvich and Tsai 1989), the band by a bootstrap over the uncertainty of each point.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from autobatch.decide.rates import estimate_rates, huber_weights
from autobatch.records import ThroughputCurve, Trial

_MIN_POINTS = 3
_MIN_R_SQUARED = 0.95
_MAX_MISFIT = 0.1
_MEDIAN_OF_NORMAL = 0.6745
# The median of ten residuals strays by a third on its own: by so much, squared, chance may exceed
# what the points are known to.
_CHANCE = 2.0
_NUM_BOOTSTRAPS = 200
_NUM_REWEIGHTINGS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """Which terms a fit has; ``late_from`` is 0 without a late cost."""

    has_per_sample: bool
    late_from: float
    has_quadratic: bool

    @property
    def num_parameters(self) -> int:
        hinge = 2 if self.late_from else 0
        return 1 + self.has_per_sample + hinge + self.has_quadratic

    def columns(self, sizes: np.ndarray) -> np.ndarray:
        late = np.maximum(0.0, sizes - self.late_from) if self.late_from else 0 * sizes
        return np.stack(
            [
                np.ones_like(sizes),
                sizes * self.has_per_sample,
                late,
                sizes**2 * self.has_quadratic,
            ],
            axis=1,
        )


def fit_throughput(
    trials: Mapping[int, Trial], *, with_band: bool = True
) -> ThroughputCurve | None:
    """Fit the step time of the trials that fitted.

    Args:
        trials: Trials by batch size.
        with_band: Whether to bootstrap the band, which takes most of the time and which only a
            report shows.

    Returns:
        The curve; ``None`` with fewer than three timed sizes.
    """
    timed = {size: trials[size] for size in sorted(trials) if trials[size].step_time_s}
    if len(timed) < _MIN_POINTS:
        return None
    sizes = np.array(list(timed), dtype=float)
    rates = estimate_rates(timed)
    times = sizes / np.exp(rates.logs)
    errors = np.sqrt(np.diag(rates.covariance))
    model = min(_models(sizes), key=lambda each: _criterion(each, sizes, times, errors))
    coefficients = _solve(model, sizes, times, errors)
    residuals = np.log(times) - np.log(model.columns(sizes) @ coefficients)
    variance = np.var(np.log(times)) * len(times)
    r_squared = 1 - float(np.sum(residuals**2) / variance) if variance > 0 else 0.0
    rms = math.sqrt(float(np.mean(residuals**2)))
    # What the points are known to does not speak against the curve, nor does a slow run or two.
    typical = float(np.median(np.abs(residuals))) / _MEDIAN_OF_NORMAL
    misfit = math.sqrt(max(0.0, typical**2 - _CHANCE * float(np.median(errors**2))))
    latency, per_sample, late, quadratic = (float(value) for value in coefficients)
    return ThroughputCurve(
        latency_s=latency,
        per_sample_s=per_sample,
        late_per_sample_s=late,
        late_from=model.late_from,
        quadratic_s=quadratic,
        r_squared=r_squared,
        is_good=r_squared >= _MIN_R_SQUARED and misfit <= _MAX_MISFIT,
        band=_band(model, sizes, times, np.maximum(errors, rms)) if with_band else (),
    )


def _models(sizes: np.ndarray) -> Iterator[_Model]:
    yield _Model(has_per_sample=True, late_from=0.0, has_quadratic=False)
    if len(sizes) >= 5:
        yield _Model(has_per_sample=True, late_from=0.0, has_quadratic=True)
    for size in sizes[:-2] if len(sizes) >= 5 else []:
        yield _Model(has_per_sample=False, late_from=float(size), has_quadratic=False)
    for size in sizes[1:-1] if len(sizes) >= 6 else []:
        yield _Model(has_per_sample=True, late_from=float(size), has_quadratic=False)


def _solve(model: _Model, sizes: np.ndarray, times: np.ndarray, errors: np.ndarray) -> np.ndarray:
    columns = model.columns(sizes)
    norms = np.linalg.norm(columns, axis=0)
    norms[norms == 0] = 1.0
    columns = columns / norms
    weights = 1.0 / (times * errors)
    trust = np.ones(len(times))
    for _ in range(_NUM_REWEIGHTINGS):
        scaled = weights * np.sqrt(trust)
        solution, _ = nnls(columns * scaled[:, None], times * scaled)
        residuals = np.abs(columns @ solution / times - 1) / errors
        trust = huber_weights(residuals)
    return np.asarray(solution / norms)


def _criterion(model: _Model, sizes: np.ndarray, times: np.ndarray, errors: np.ndarray) -> float:
    fitted = model.columns(sizes) @ _solve(model, sizes, times, errors)
    if np.any(fitted <= 0):
        return math.inf
    n, k = len(sizes), model.num_parameters + 1
    # A perfect fit is no better than what the points are known to.
    mean_square = max(float(np.mean(((fitted / times - 1) / errors) ** 2)), 0.01)
    correction = 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else 1e3
    return n * math.log(mean_square) + 2 * k + correction


def _band(
    model: _Model, sizes: np.ndarray, times: np.ndarray, errors: np.ndarray
) -> tuple[tuple[int, float, float], ...]:
    generator = np.random.default_rng(0)
    columns = model.columns(sizes)
    rates = []
    for _ in range(_NUM_BOOTSTRAPS):
        drawn = times * np.exp(errors * generator.standard_normal(len(times)))
        fitted = columns @ _solve(model, sizes, drawn, errors)
        rates.append(sizes / np.maximum(fitted, 1e-12))
    low, high = np.percentile(np.array(rates), [5, 95], axis=0)
    return tuple(
        (int(size), float(a), float(b)) for size, a, b in zip(sizes, low, high, strict=True)
    )

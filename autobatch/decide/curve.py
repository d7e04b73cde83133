"""Step time against batch size, and with it the throughput.

What is fitted is the step time, since it is what was measured. Its terms cannot be negative: a
latency, a cost per sample, and one term for what gets worse with size, so that the throughput may
fall: a further cost per sample from some size on, which may lie between two sizes that ran, or one
that grows with the square of the size. A step of at least ``floor`` seconds is the case without a
cost per sample below that size: ``max(floor, c * b)``. The number of terms is chosen by the
corrected Akaike criterion (Hurvich and Tsai 1989).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from autobatch.records import ThroughputCurve

_MIN_POINTS = 3
# Positions of the hinge that are tried, per doubling of the batch size.
_HINGES_PER_DOUBLING = 4
# A fit as close as this, in logs, is as good as any: step times are not known better.
_CLOSEST = 0.003


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted curve and how its logs move with its coefficients.

    Attributes:
        curve: The curve.
        log_times: Log of the fitted step time at each size, shape ``(n,)``.
        jacobian: Change of ``log_times`` with the log of each coefficient in use, shape
            ``(n, k)``; the size at which a late cost begins is one of them.
    """

    curve: ThroughputCurve
    log_times: np.ndarray
    jacobian: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """Which terms a fit has; ``late_from`` is 0 without a late cost."""

    has_per_sample: bool = True
    late_from: float = 0.0
    has_quadratic: bool = False

    @property
    def num_parameters(self) -> int:
        return 1 + self.has_per_sample + 2 * (self.late_from > 0) + self.has_quadratic

    def columns(self, sizes: np.ndarray) -> np.ndarray:
        late = np.maximum(0.0, sizes - self.late_from) if self.late_from else 0 * sizes
        per_sample, quadratic = sizes * self.has_per_sample, sizes**2 * self.has_quadratic
        return np.stack([np.ones_like(sizes), per_sample, late, quadratic], axis=1)


def fit_step_time(sizes: np.ndarray, times_s: np.ndarray, log_errors: np.ndarray) -> Fit | None:
    """Fit the step times of several sizes.

    Args:
        sizes: Batch sizes, ascending, shape ``(n,)``.
        times_s: Step time of each.
        log_errors: Standard errors of the logs of ``times_s``, up to a common factor.

    Returns:
        The fit; ``None`` with fewer than three sizes.
    """
    if len(sizes) < _MIN_POINTS:
        return None
    fits = [(model, _solve(model, sizes, times_s, log_errors)) for model in _models(sizes)]
    model, coefficients = min(
        fits, key=lambda fit: _criterion(fit[0], fit[1], sizes, times_s, log_errors)
    )
    columns = model.columns(sizes)
    fitted = columns @ coefficients
    residuals = np.log(times_s / fitted)
    variance = float(np.var(np.log(times_s))) * len(sizes)
    latency, per_sample, late, quadratic = (float(value) for value in coefficients)
    curve = ThroughputCurve(
        latency_s=latency,
        per_sample_s=per_sample,
        late_per_sample_s=late,
        late_from=model.late_from if late > 0 else 0.0,
        quadratic_s=quadratic,
        r_squared=1 - float(residuals @ residuals) / variance if variance > 0 else 0.0,
        is_good=False,
        band=(),
    )
    terms = columns * coefficients
    if late > 0:
        begun = -late * model.late_from * (sizes > model.late_from)
        terms = np.column_stack([terms, begun])
    jacobian = (terms / fitted[:, None])[:, np.any(terms != 0, axis=0)]
    return Fit(curve=curve, log_times=np.log(fitted), jacobian=jacobian)


def _models(sizes: np.ndarray) -> Iterator[_Model]:
    yield _Model()
    if len(sizes) < 4:
        return
    yield _Model(has_quadratic=True)
    low, high = np.log2(sizes[0]), np.log2(sizes[-2])
    count = max(2, round((high - low) * _HINGES_PER_DOUBLING) + 1)
    for hinge in np.exp2(np.linspace(low, high, count)):
        yield _Model(has_per_sample=False, late_from=float(hinge))
        if len(sizes) >= 6 and hinge > sizes[0]:
            yield _Model(late_from=float(hinge))


def _solve(
    model: _Model, sizes: np.ndarray, times_s: np.ndarray, log_errors: np.ndarray
) -> np.ndarray:
    weights = 1.0 / (times_s * log_errors)
    scaled = model.columns(sizes) * weights[:, None]
    norms = np.linalg.norm(scaled, axis=0)
    norms[norms == 0] = 1.0
    solution, _ = nnls(scaled / norms, times_s * weights)
    return np.asarray(solution / norms)


def _criterion(
    model: _Model,
    coefficients: np.ndarray,
    sizes: np.ndarray,
    times_s: np.ndarray,
    log_errors: np.ndarray,
) -> float:
    fitted = model.columns(sizes) @ coefficients
    if np.any(fitted <= 0):
        return math.inf
    n, k = len(sizes), model.num_parameters + 1
    weights = log_errors**-2 / np.mean(log_errors**-2)
    mean_square = float(np.mean(weights * np.log(fitted / times_s) ** 2)) + _CLOSEST**2
    correction = 2 * k * (k + 1) / (n - k - 1) if n > k + 1 else 1e3
    return n * math.log(mean_square) + 2 * k + correction

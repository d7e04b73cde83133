"""Step time against batch size, and from it the throughput.

The fit is to the step time, because that is what was measured. Its terms are never negative: a
latency, a cost per sample, and one term that lets the throughput fall at large sizes. That term is
either a further cost per sample above a hinge, which may lie between two sizes that ran, or a cost
that grows with the square of the size. A hinge without a cost per sample below it gives
``max(floor, c * b)``. The corrected Akaike criterion (Hurvich and Tsai 1989) chooses the terms.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from autobatch.records import ThroughputCurve

_MIN_POINTS = 3
# Positions of the hinge that are tried, per doubling of the batch size.
_HINGES_PER_DOUBLING = 4
# A closer fit than this, in logs, earns nothing: step times are not known more precisely.
_CLOSEST = 0.003


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted curve and its derivatives.

    Attributes:
        curve: The curve.
        log_times: Log of the fitted step time at each size, shape ``(n,)``.
        jacobian: Derivative of ``log_times`` by the log of each coefficient in use, shape
            ``(n, k)``; the position of the hinge counts as a coefficient.
        left_out: What a latency and a quadratic term would add to ``log_times`` where the fit has
            none, in units of the most that each adds at any size, shape ``(n, m)``.
    """

    curve: ThroughputCurve
    log_times: np.ndarray
    jacobian: np.ndarray
    left_out: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class _Model:
    """Which terms a fit has; ``late_from`` is the hinge, 0 without one."""

    has_per_sample: bool = True
    late_from: float = 0.0
    has_quadratic: bool = False

    @property
    def num_parameters(self) -> int:
        return 1 + self.has_per_sample + 2 * (self.late_from > 0) + self.has_quadratic


def fit_step_time(sizes: np.ndarray, times_s: np.ndarray, log_errors: np.ndarray) -> Fit | None:
    """Fit the step times of several sizes.

    Args:
        sizes: Batch sizes, ascending, shape ``(n,)``.
        times_s: Step time of each, in seconds, shape ``(n,)``.
        log_errors: Standard errors of the logs of ``times_s``, up to a common factor, shape
            ``(n,)``.

    Returns:
        The fit; ``None`` with fewer than three sizes.
    """
    if len(sizes) < _MIN_POINTS:
        return None
    models = list(_models(sizes))
    all_columns = _make_columns(models, sizes)
    all_coefficients = _solve(all_columns, times_s, log_errors)
    criteria = _criterion(models, all_columns, all_coefficients, times_s, log_errors)
    chosen = int(np.argmin(criteria))
    model, columns, coefficients = models[chosen], all_columns[chosen], all_coefficients[chosen]
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
    absent = [(latency == 0, np.ones_like(sizes)), (late == 0 and quadratic == 0, sizes**2)]
    shares = [term / fitted for is_absent, term in absent if is_absent]
    left_out = np.array([share / share.max() for share in shares]).reshape(-1, len(sizes)).T
    return Fit(curve=curve, log_times=np.log(fitted), jacobian=jacobian, left_out=left_out)


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


def _make_columns(models: list[_Model], sizes: np.ndarray) -> np.ndarray:
    """What each coefficient of each model is multiplied by, shape ``(models, n, 4)``."""
    late_from = np.array([[model.late_from] for model in models])
    late = np.maximum(0.0, sizes - late_from) * (late_from > 0)
    per_sample = np.outer([model.has_per_sample for model in models], sizes)
    quadratic = np.outer([model.has_quadratic for model in models], sizes**2)
    return np.stack([np.ones_like(late), per_sample, late, quadratic], axis=2)


def _solve(columns: np.ndarray, times_s: np.ndarray, log_errors: np.ndarray) -> np.ndarray:
    weights = 1.0 / (times_s * log_errors)
    scaled = columns * weights[:, None]
    norms = np.linalg.norm(scaled, axis=1)
    norms[norms == 0] = 1.0
    scaled /= norms[:, None, :]
    wanted = times_s * weights
    return np.asarray([nnls(each, wanted)[0] for each in scaled] / norms)


def _criterion(
    models: list[_Model],
    columns: np.ndarray,
    coefficients: np.ndarray,
    times_s: np.ndarray,
    log_errors: np.ndarray,
) -> np.ndarray:
    fitted = np.einsum("mnk,mk->mn", columns, coefficients)
    with np.errstate(divide="ignore"):  # a step time of 0 is infinitely far off
        log_ratios = np.log(fitted / times_s)
    n, k = len(times_s), np.array([model.num_parameters + 1 for model in models])
    weights = log_errors**-2 / np.mean(log_errors**-2)
    mean_squares = np.mean(weights * log_ratios**2, axis=1) + _CLOSEST**2
    corrections = np.where(n > k + 1, 2 * k * (k + 1) / np.maximum(1, n - k - 1), 1e3)
    return np.asarray(n * np.log(mean_squares) + 2 * k + corrections)

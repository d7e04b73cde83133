"""Peak memory against batch size.

The peak of a step is the maximum, over its moments, of sums that are affine in the batch size:
tensors that grow with the batch and tensors that do not. A maximum of affine functions is
convex and piecewise affine. Two pieces describe it well: a flat one, where the optimizer's
temporaries or the libraries dominate, and a rising one, where the activations do.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from scipy.optimize import least_squares

from autobatch.decide.numbers import NUMBERS
from autobatch.records import MemoryCurve

_MIB = 2.0**20


def fit_memory(peaks_bytes: Mapping[int, int]) -> MemoryCurve | None:
    """Fit ``max(floor, fixed + per_sample * b)`` to measured peaks, robustly.

    Args:
        peaks_bytes: Measured peak by batch size.

    Returns:
        The curve; ``None`` with fewer than two sizes.
    """
    return _fit(tuple(sorted(peaks_bytes.items()))) if len(peaks_bytes) > 1 else None


@lru_cache(maxsize=16)
def _fit(points: tuple[tuple[int, int], ...]) -> MemoryCurve:
    sizes, peaks = np.array(points, dtype=float).T / [[1], [_MIB]]
    slope = max(0.0, (peaks[-1] - peaks[-2]) / (sizes[-1] - sizes[-2]))
    starts = [(peaks[0], peaks[-1] - slope * sizes[-1], slope)]
    mean_slope = max(0.0, float(np.polyfit(sizes, peaks, 1)[0]))
    starts.append((peaks[0], peaks[-1] - mean_slope * sizes[-1], mean_slope))
    fits = [_fit_from(np.array(start), sizes, peaks) for start in starts]
    floor, fixed, slope = min(fits, key=lambda fit: fit[1])[0]
    residuals = np.maximum(floor, fixed + slope * sizes) - peaks
    degrees_of_freedom = max(1, len(sizes) - 2)
    return MemoryCurve(
        floor_bytes=float(floor * _MIB),
        fixed_bytes=float(fixed * _MIB),
        per_sample_bytes=float(slope * _MIB),
        residual_bytes=float(np.sqrt(np.sum(residuals**2) / degrees_of_freedom) * _MIB),
        num_points=len(sizes),
    )


def _fit_from(start: np.ndarray, sizes: np.ndarray, peaks: np.ndarray) -> tuple[np.ndarray, float]:
    # In MiB per sample the slope may be tiny: scale it by the largest size.
    scale = np.array([1.0, 1.0, 1.0 / sizes[-1]])

    def residuals(scaled: np.ndarray) -> np.ndarray:
        floor, fixed, slope = scaled * scale
        relative: np.ndarray = (np.maximum(floor, fixed + slope * sizes) - peaks) / peaks
        return relative

    result = least_squares(
        residuals,
        start / scale,
        bounds=([0.0, -np.inf, 0.0], [np.inf, np.inf, np.inf]),
        loss="soft_l1",
        f_scale=NUMBERS.peak_noise_fraction,
    )
    best: np.ndarray = result.x * scale
    return best, float(result.cost)

"""The gradient noise scale from sums of gradients.

The gradient of a micro-batch of ``b`` samples is the mean gradient ``G`` plus noise of covariance
``Sigma / b``. For the gradients ``g_1 ... g_n`` of disjoint micro-batches and their mean ``g``,

    tr(Sigma) ~ b / (n - 1) * sum |g_i - g|^2            |G|^2 ~ |g|^2 - tr(Sigma) / (b n)

which are unbiased, and are what McCandlish et al. 2018 ("An Empirical Model of Large-Batch
Training", appendix A.1) compute from two batch sizes, here ``b`` and ``b n``. Both are averaged
before the ratio is taken, since the ratio of two noisy numbers is biased.

The interval is Fieller's (1954): all ratios ``phi`` for which ``tr(Sigma) - phi |G|^2`` does not
differ from zero by more than its error, which the jackknife (Efron and Stein 1981) takes from
leaving out one block of micro-batches at a time. Unlike an error bar on the ratio it stays true
where ``|G|^2`` is hardly above its own error: its upper end is then infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from autobatch.records import NoiseScale

CONFIDENCE_FRACTION = 0.9
MIN_BLOCKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientSums:
    """Summary of many gradients: sums over blocks of micro-batches.

    Attributes:
        dot_products: Of the blocks' summed gradients with each other, shape ``(blocks, blocks)``.
        squared_norms: Sum over each block of its gradients' squared norms, shape ``(blocks,)``.
        counts: Micro-batches in each block, shape ``(blocks,)``.
        micro_batch_size: Samples of each micro-batch.
    """

    dot_products: np.ndarray
    squared_norms: np.ndarray
    counts: np.ndarray
    micro_batch_size: int


def estimate_noise_scale(
    sums: GradientSums, *, confidence_fraction: float = CONFIDENCE_FRACTION
) -> NoiseScale:
    """Estimate the noise scale, with an interval.

    Args:
        sums: Of four blocks or more, and of twice as many micro-batches at least where each
            has several.
        confidence_fraction: How often the interval is to hold the true value.

    Raises:
        ValueError: With fewer than four blocks, or sums that are not finite.
    """
    num_blocks = len(sums.counts)
    if num_blocks < MIN_BLOCKS:
        raise ValueError(f"{num_blocks} blocks of gradients are too few to estimate their noise")
    if not (np.isfinite(sums.dot_products).all() and np.isfinite(sums.squared_norms).all()):
        raise ValueError("the gradients are not finite")
    counts = sums.counts.astype(float)
    whole = np.array([sums.dot_products.sum(), sums.squared_norms.sum(), counts.sum()])
    # Without block k, the squared sum loses its products with the others (twice) and itself (once).
    lost = 2 * sums.dot_products.sum(axis=1) - np.diag(sums.dot_products)
    without = whole - np.stack([lost, sums.squared_norms, counts], axis=1)
    estimates = _moments(whole[None], sums.micro_batch_size)[0]
    left_out = _moments(without, sums.micro_batch_size)
    deviations = left_out - left_out.mean(axis=0)
    covariance = (num_blocks - 1) / num_blocks * deviations.T @ deviations
    return _to_noise_scale(
        estimates,
        covariance,
        degrees_of_freedom=num_blocks - 1,
        confidence_fraction=confidence_fraction,
        micro_batch_size=sums.micro_batch_size,
        num_micro_batches=int(counts.sum()),
    )


def average_noise_scale(
    moments: Sequence[tuple[float, float]],
    *,
    micro_batch_size: int,
    num_micro_batches: int,
    confidence_fraction: float = CONFIDENCE_FRACTION,
) -> NoiseScale | None:
    """Estimate the noise scale from pairs of estimates, one pair for each optimizer step.

    Args:
        moments: For each step an unbiased ``(tr(Sigma), |G|^2)``.
        micro_batch_size: Samples of the smaller of the two batches compared.
        num_micro_batches: Micro-batches in all of the steps.
        confidence_fraction: How often the interval is to hold the true value.

    Returns:
        The estimate; ``None`` with fewer than four steps, or if a moment is not finite.
    """
    pairs = np.array(moments, dtype=float).reshape(-1, 2)
    if len(pairs) < MIN_BLOCKS or not np.isfinite(pairs).all():
        return None
    # Steps that follow each other see almost the same weights: their means over runs of steps
    # differ by more than independent ones would, which the covariance of the runs shows.
    runs = np.array_split(pairs, min(len(pairs), max(MIN_BLOCKS, math.isqrt(4 * len(pairs)))))
    means = np.array([run.mean(axis=0) for run in runs])
    return _to_noise_scale(
        pairs.mean(axis=0),
        np.cov(means.T) / len(runs),
        degrees_of_freedom=len(runs) - 1,
        confidence_fraction=confidence_fraction,
        micro_batch_size=micro_batch_size,
        num_micro_batches=num_micro_batches,
    )


def moments_from_norms(
    small_squared_norm: float, big_squared_norm: float, *, small: int, big: int
) -> tuple[float, float]:
    """``tr(Sigma)`` and ``|G|^2`` from squared gradient norms at two batch sizes.

    McCandlish et al. 2018, equations A.2 and A.3. Either may fall below zero by chance; only
    their averages over many steps are to be divided.

    Args:
        small_squared_norm: At the small batch, or the mean over several of them.
        big_squared_norm: At the big batch, which holds the small ones.
        small: Samples of the small batch.
        big: Samples of the big batch, more than ``small``.
    """
    variance = (small_squared_norm - big_squared_norm) / (1 / small - 1 / big)
    squared_norm = (big * big_squared_norm - small * small_squared_norm) / (big - small)
    return variance, squared_norm


def fieller_interval(
    numerator: float, denominator: float, covariance: np.ndarray, quantile: float
) -> tuple[float, float]:
    """The interval of a ratio that is known to be positive.

    Args:
        numerator: Estimate, above zero.
        denominator: Estimate.
        covariance: Of the two, shape ``(2, 2)``.
        quantile: Half-width of the interval, in standard errors.

    Returns:
        Its ends; ``inf`` for an upper end that the denominator's error leaves open.
    """
    (var_n, cov), (_, var_d) = (covariance * quantile**2).tolist()
    denominator = max(0.0, denominator)  # below zero it can only be by chance
    # phi^2 (d^2 - var_d) - 2 phi (n d - cov) + (n^2 - var_n) <= 0
    a, half_b, c = denominator**2 - var_d, numerator * denominator - cov, numerator**2 - var_n
    root = math.sqrt(max(0.0, half_b**2 - a * c))
    if a > 0:
        return max(0.0, (half_b - root) / a), max(0.0, (half_b + root) / a)
    # The denominator may be zero: everything above the smallest positive root is possible.
    if c <= 0:
        return 0.0, math.inf
    return c / max(half_b + root, 1e-300), math.inf


def _moments(sums: np.ndarray, micro_batch_size: int) -> np.ndarray:
    """``tr(Sigma)`` and ``|G|^2`` by row, from rows of ``|sum|^2``, sum of ``|g|^2``, count."""
    square_of_sum, sum_of_squares, count = sums.T
    variance = micro_batch_size * (sum_of_squares - square_of_sum / count) / (count - 1)
    squared_norm = square_of_sum / count**2 - variance / (micro_batch_size * count)
    return np.stack([variance, squared_norm], axis=1)


def _to_noise_scale(
    estimates: np.ndarray,
    covariance: np.ndarray,
    *,
    degrees_of_freedom: int,
    confidence_fraction: float,
    micro_batch_size: int,
    num_micro_batches: int,
) -> NoiseScale:
    variance, squared_norm = float(estimates[0]), float(estimates[1])
    # Imported late: whatever a worker imports is part of every peak that it measures.
    from scipy.special import stdtrit

    quantile = float(stdtrit(degrees_of_freedom, (1 + confidence_fraction) / 2))
    low, high = fieller_interval(variance, squared_norm, covariance, quantile)
    return NoiseScale(
        noise_scale=max(0.0, variance) / squared_norm if squared_norm > 0 else None,
        low=low,
        high=high if math.isfinite(high) else None,
        confidence_fraction=confidence_fraction,
        gradient_variance=variance,
        squared_gradient_norm=squared_norm,
        micro_batch_size=micro_batch_size,
        num_micro_batches=num_micro_batches,
    )

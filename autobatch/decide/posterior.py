"""What is believed of the throughputs: the measurements and the curve through all of them.

A smooth curve through all sizes steadies what noise makes of single ones, and smooths away what is
true of them: an algorithm that changes at some size, tiles, caches. How far the truth lies from the
curve differs from workload to workload, and the measurements tell it. So it is not chosen but
averaged over: the curve is good, or good but for one size, or poor, each weighted by how likely it
makes what was measured (Gelman et al., Bayesian Data Analysis, 3rd edition 2013, section 5.4, on a
grid). There is no point at which the curve is suddenly believed no more, and an answer does not
hang on which side of it chance has put the points.
"""

from __future__ import annotations

import math

import numpy as np

from autobatch.decide.rates import Rates, deviations
from autobatch.records import ThroughputCurve

# Standard deviations of the log of the true throughputs about the curve. Mostly a curve is good to
# some percent; of the workloads that these were set with, an LSTM lay 0.2 beside its own at one
# size.
_GOOD_MISFIT = 0.02
_POOR_MISFIT = 0.3
# How often one of the sizes lies beside a good curve, and how often a whole curve is poor. That
# takes strong evidence: slow processes look the same, and searches that took three in a hundred
# curves to be poor gave answers a factor of four apart.
_ONE_POOR = 0.01
_ALL_POOR = 0.0003


def draw_to_curve(rates: Rates, curve: ThroughputCurve | None) -> Rates:
    """Draw rates to a fitted curve, the more so the less certain they are and the better it fits.

    Args:
        rates: As measured.
        curve: Fitted to them; ``None`` leaves them as they are.
    """
    if curve is None:
        return rates
    residuals = deviations(rates, curve)
    evidence, shifts, covariances = [], [], []
    for misfits, weight in _list_misfits(len(rates.sizes)):
        total = rates.covariance + np.diag(misfits**2)
        precision = np.linalg.inv(total)
        gain = rates.covariance @ precision
        shifts.append(-gain @ residuals)
        covariances.append(rates.covariance - gain @ rates.covariance)
        log_determinant = float(np.linalg.slogdet(total)[1])
        square = float(residuals @ precision @ residuals)
        evidence.append(math.log(weight) - (log_determinant + square) / 2)
    shares = np.exp(np.array(evidence) - max(evidence))
    shares /= shares.sum()
    shift = shares @ np.array(shifts)
    between = np.array(shifts) - shift
    covariance = np.einsum("k,kij->ij", shares, np.array(covariances))
    covariance += np.einsum("k,ki,kj->ij", shares, between, between)
    return Rates(rates.sizes, rates.logs + shift, covariance)


def _list_misfits(num_sizes: int) -> list[tuple[np.ndarray, float]]:
    """Misfits by size, and how often they are so, relative to those of a good curve."""
    good = np.full(num_sizes, _GOOD_MISFIT)
    but_for_one = [
        (np.where(np.arange(num_sizes) == index, _POOR_MISFIT, good), _ONE_POOR)
        for index in range(num_sizes)
    ]
    return [(good, 1.0), *but_for_one, (np.full(num_sizes, _POOR_MISFIT), _ALL_POOR)]

"""Peak memory against batch size and the length of the longest sample.

    peak(b, l) = fixed + b (per_sample + per_token l + per_pair l^2)

No coefficient is negative: parameters and optimizer state do not depend on the batch, activations
grow with the padded tokens, and stored attention scores with the square of the length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy
from scipy.optimize import nnls


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthMemory:
    """A fitted peak.

    Attributes:
        fixed_bytes: Independent of the batch.
        per_sample_bytes: For each sample.
        per_token_bytes: For each padded token.
        per_pair_bytes: For each pair of padded tokens of one sample.
    """

    fixed_bytes: float
    per_sample_bytes: float
    per_token_bytes: float
    per_pair_bytes: float

    def largest_batch_size(self, length: int, budget_bytes: float) -> float:
        """Solve for the batch size at which the peak meets the budget.

        Args:
            length: Length of the longest sample.
            budget_bytes: Memory that may be used.

        Returns:
            The batch size; infinite if the peak does not grow with it.
        """
        slope = (
            self.per_sample_bytes + (self.per_token_bytes + self.per_pair_bytes * length) * length
        )
        room = budget_bytes - self.fixed_bytes
        if room <= 0:
            return 0.0
        return room / slope if slope > 0 else math.inf


def fit_length_memory(points: Sequence[tuple[int, int, int]]) -> LengthMemory | None:
    """Fit the peak by non-negative least squares.

    Args:
        points: Batch size, length and peak in bytes of each trial.

    Returns:
        The curve, ``None`` with fewer than two points.
    """
    if len(points) < 2:
        return None
    sizes, lengths, peaks = (
        numpy.array(column, dtype=float) for column in zip(*points, strict=True)
    )
    features = numpy.stack(
        [numpy.ones_like(sizes), sizes, sizes * lengths, sizes * lengths**2], axis=1
    )
    scale = features.max(axis=0)
    coefficients, _ = nnls(features / scale, peaks)
    fixed, per_sample, per_token, per_pair = (float(c) for c in coefficients / scale)
    return LengthMemory(
        fixed_bytes=fixed,
        per_sample_bytes=per_sample,
        per_token_bytes=per_token,
        per_pair_bytes=per_pair,
    )

"""Fitted curves as plain numbers. The fits themselves are in ``autobatch.decide``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCurve:
    """Peak memory against batch size: ``max`` of a flat piece and a rising line.

    Attributes:
        floor_bytes: Peak at small sizes, where something other than the batch dominates.
        fixed_bytes: Intercept of the rising line.
        per_sample_bytes: Slope of the rising line.
        residual_bytes: Standard deviation of the measurements about the curve.
        num_points: Measured sizes it was fitted to.
    """

    floor_bytes: float
    fixed_bytes: float
    per_sample_bytes: float
    residual_bytes: float
    num_points: int

    def peak_bytes(self, batch_size: float) -> float:
        """Fitted peak at a batch size."""
        return max(self.floor_bytes, self.fixed_bytes + self.per_sample_bytes * batch_size)

    def batch_size_at(self, peak_bytes: float) -> float:
        """Batch size at which the fitted peak reaches a number of bytes; ``inf`` if never."""
        if peak_bytes < self.floor_bytes:
            return 0.0
        if self.per_sample_bytes <= 0:
            return float("inf")
        return (peak_bytes - self.fixed_bytes) / self.per_sample_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputCurve:
    """Step time against batch size ``b``.

    In seconds::

        latency + per_sample * b + late_per_sample * max(0, b - late_from) + quadratic * b**2

    Attributes:
        latency_s: Cost of a step that does not depend on its size.
        per_sample_s: Cost of each sample.
        late_per_sample_s: Further cost of each sample beyond ``late_from``.
        late_from: Batch size at which that further cost begins; 0 where there is none.
        quadratic_s: Cost that grows with the square of the size.
        r_squared: Fraction of the variance of log step time that the curve explains.
        is_good: Whether it describes the points well enough to tell what lies beyond them.
        band: For each fitted size ``(batch_size, low, high)``: 90 % band of samples per second.
    """

    latency_s: float
    per_sample_s: float
    late_per_sample_s: float
    late_from: float
    quadratic_s: float
    r_squared: float
    is_good: bool
    band: tuple[tuple[int, float, float], ...]

    def step_time_s(self, batch_size: float) -> float:
        """Fitted step time in seconds."""
        return (
            self.latency_s
            + self.per_sample_s * batch_size
            + self.late_per_sample_s * max(0.0, batch_size - self.late_from)
            + self.quadratic_s * batch_size**2
        )

    def samples_per_s(self, batch_size: float) -> float:
        """Fitted throughput."""
        return batch_size / self.step_time_s(batch_size)

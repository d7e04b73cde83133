"""The gradient noise scale as plain numbers, and what follows from it for the batch size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseScale:
    """How noisy the gradient is: ``B_simple = tr(Sigma) / |G|^2`` (McCandlish et al. 2018).

    ``G`` is the mean gradient, ``Sigma`` the covariance of the gradient of one sample. A batch
    much smaller than ``B_simple`` has a gradient that is mostly noise; in one much larger, most
    samples add nothing new.

    Attributes:
        noise_scale: The estimate, in samples; ``None`` where the mean gradient cannot be told
            from zero, so that only ``low`` is known.
        low: Lower end of the interval, in samples.
        high: Upper end, in samples; ``None`` if it has none.
        confidence_fraction: How often such an interval holds the true value.
        gradient_variance: Estimate of ``tr(Sigma)``.
        squared_gradient_norm: Estimate of ``|G|^2``; it may fall below zero by chance.
        micro_batch_size: Samples of each gradient.
        num_micro_batches: Gradients that it was estimated from.
        num_training_steps: Optimizer steps of training before the measurement.
        initial_noise_scale: The estimate before those steps, ``None`` if there is none.
    """

    noise_scale: float | None
    low: float
    high: float | None
    confidence_fraction: float
    gradient_variance: float
    squared_gradient_norm: float
    micro_batch_size: int
    num_micro_batches: int
    num_training_steps: int = 0
    initial_noise_scale: float | None = None

    @property
    def at_least(self) -> float:
        """The estimate; where there is none, the lower end of the interval."""
        return self.low if self.noise_scale is None else self.noise_scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """One batch size that ran and fitted.

    Attributes:
        batch_size: Samples per pass and device.
        global_batch_size: Samples per optimizer step.
        samples_per_s: Estimated throughput of one device.
        relative_efficiency: Value of a sample, relative to one at the base batch size:
            ``(phi + b0) / (phi + b)``; above 1 at sizes below the base.
        goodput_samples_per_s: Throughput times relative efficiency.
    """

    batch_size: int
    global_batch_size: int
    samples_per_s: float
    relative_efficiency: float
    goodput_samples_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Goodput by batch size (Qiao et al. 2021, "Pollux").

    Attributes:
        base_batch_size: The global batch size that efficiencies are relative to.
        noise_is_lower_bound: Whether the noise scale is the lower end of its interval, since
            the gradient could not be told from zero.
        goodputs: By batch size.
        batch_size: The size with the highest goodput.
    """

    base_batch_size: int
    noise_is_lower_bound: bool
    goodputs: tuple[Goodput, ...]
    batch_size: int

"""The batch size that learns fastest: throughput times the value of a sample.

Beside the throughput, the goodput of Qiao et al. 2021 ("Pollux", OSDI) counts how far the samples
of a batch repeat each other. With the noise scale ``phi``, the global batch size ``b`` and a base
``b0`` that is only the unit,

    goodput(b) = throughput(b) * (phi + b0) / (phi + b)

It holds where the learning rate follows the batch size so that an optimizer step gains what
AdaScale (Johnson et al. 2020) says; the noise scale grows as training goes on. For the signs of
gradients, which is what Adam is close to, Li et al. 2024 (theorem 5) find the same form, with a
noise scale of their own that is not the one measured.
"""

from __future__ import annotations

import math

from autobatch.decide.rates import Rates
from autobatch.recommend.accumulation import split_global_batch
from autobatch.recommend.inputs import find_base_batch_size
from autobatch.records import Efficiency, Goodput, NoiseScale, Settings, WorkloadSummary


def relative_efficiency(noise_scale: float, batch_size: float, base_batch_size: float) -> float:
    """Value of a sample in a batch, relative to one in a batch of the base size.

    Args:
        noise_scale: In samples, at least 0.
        batch_size: Samples per optimizer step.
        base_batch_size: The size at which a sample is worth 1.
    """
    return (noise_scale + base_batch_size) / (noise_scale + batch_size)


def scale_to_goodput(
    rates: Rates, noise_scale: float, settings: Settings, workload: WorkloadSummary
) -> Rates:
    """Turn throughputs into goodputs, with the same errors.

    Args:
        rates: Throughputs.
        noise_scale: The gradient noise scale, in samples.
        settings: For the global batch and the base batch size.
        workload: For the base batch size.
    """
    base = find_base_batch_size(settings, workload)
    return rates.scaled(
        {
            size: relative_efficiency(
                noise_scale, split_global_batch(settings, size).global_batch_size, base
            )
            for size in rates.sizes
        }
    )


def find_efficiency(
    rates: Rates, noise: NoiseScale | None, settings: Settings, workload: WorkloadSummary
) -> Efficiency | None:
    """Goodputs of the sizes that ran, and which is best.

    Args:
        rates: Throughputs of the sizes that ran and fitted.
        noise: The measured noise scale; its lower end is used where there is no estimate.
        settings: For the global batch.
        workload: For the base batch size.

    Returns:
        ``None`` if nothing is known about the noise scale, not even a lower end above zero.
    """
    if noise is None or not rates.sizes or (noise.noise_scale is None and noise.low <= 0):
        return None
    base = find_base_batch_size(settings, workload)
    scaled = scale_to_goodput(rates, noise.at_least, settings, workload)
    goodputs = []
    for size in rates.sizes:
        samples_per_s = math.exp(rates.log_rate(size))
        goodput = math.exp(scaled.log_rate(size))
        goodputs.append(
            Goodput(
                batch_size=size,
                global_batch_size=split_global_batch(settings, size).global_batch_size,
                samples_per_s=samples_per_s,
                relative_efficiency=goodput / samples_per_s,
                goodput_samples_per_s=goodput,
            )
        )
    return Efficiency(
        base_batch_size=base,
        noise_is_lower_bound=noise.noise_scale is None,
        goodputs=tuple(goodputs),
        batch_size=scaled.best(),
    )

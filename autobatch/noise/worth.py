"""The value of samples by the gradient noise scale, for searches with ``Goal.EFFICIENCY``."""

from __future__ import annotations

from autobatch.decide.rates import Rates
from autobatch.finder.evidence import Evidence
from autobatch.noise.goodput import find_efficiency, relative_efficiency
from autobatch.noise.job import measure_noise
from autobatch.noise.plan import plan_noise, require_noise_prober, require_real_data
from autobatch.probe.probers import JobProber, Prober
from autobatch.probe.protocol import Loaded
from autobatch.recommend.accumulation import split_global_batch
from autobatch.recommend.inputs import find_base_batch_size
from autobatch.records import (
    Efficiency,
    Goal,
    NoiseScale,
    Observer,
    Phase,
    Settings,
    WorkloadSummary,
)
from autobatch.units import format_count


def worth_of(settings: Settings) -> GradientWorth | None:
    """Make what a search with these settings needs to measure the gradient noise scale.

    Returns:
        ``None`` if it does not need the noise scale.
    """
    return GradientWorth(settings) if settings.wants_noise else None


class GradientWorth:
    """Measures the gradient noise scale once, and derives the value of samples from it.

    Args:
        settings: Settings of the search.

    Attributes:
        noise: The noise scale; ``None`` until it is measured.
    """

    def __init__(self, settings: Settings) -> None:
        self.noise: NoiseScale | None = None
        self._settings = settings
        self._workload: WorkloadSummary | None = None

    def require(self, prober: Prober) -> None:
        """Check before the search that it can be measured at all.

        Raises:
            SettingsError: If the prober cannot measure it.
        """
        require_noise_prober(prober, self._settings)

    def require_data(self, loaded: Loaded) -> None:
        """Check before the first trial that the data allows the measurement.

        Raises:
            WorkloadError: If every batch is the same.
        """
        require_real_data(loaded, self._settings)

    def measure(
        self,
        prober: Prober,
        evidence: Evidence,
        observer: Observer,
        *,
        time_left_s: float | None,
        timeout_s: float,
    ) -> None:
        """Measure it, as ``Worth.measure`` says."""
        assert isinstance(prober, JobProber)
        plan = plan_noise(evidence, time_left_s)
        observer.trial_started(plan.micro_batch_size, Phase.NOISE)
        self._workload = evidence.loaded.workload
        self.noise = measure_noise(prober, plan, timeout_s=timeout_s)

    def is_known(self) -> bool:
        """Whether the goal needs the measurement, and it succeeded."""
        if self.noise is None or self._settings.goal is not Goal.EFFICIENCY:
            return False
        return self.noise.noise_scale is not None or self.noise.low > 0

    def of(self, batch_size: int) -> float:
        """Value of a sample in a batch of this size; 1 at the base size."""
        assert self.noise is not None and self._workload is not None
        base = find_base_batch_size(self._settings, self._workload)
        global_batch_size = split_global_batch(self._settings, batch_size).global_batch_size
        return relative_efficiency(self.noise.at_least, global_batch_size, base)

    def reason(self) -> str:
        """Why the size with the highest throughput times value is the answer."""
        assert self.noise is not None
        at_least = "at least " if self.noise.noise_scale is None else ""
        return (
            "the highest throughput x efficiency of the sizes that ran, at a gradient noise "
            f"scale of {at_least}{format_count(self.noise.at_least)} samples"
        )

    def efficiency(self, rates: Rates) -> Efficiency | None:
        """Throughput times value of the sizes that ran; ``None`` if nothing is known."""
        if self._workload is None:
            return None
        return find_efficiency(rates, self.noise, self._settings, self._workload)

"""What a search asks of whoever can say what a sample is worth at each batch size."""

from __future__ import annotations

from typing import Protocol

from autobatch.decide.rates import Rates
from autobatch.finder.evidence import Evidence
from autobatch.probe.probers import Prober
from autobatch.probe.protocol import Loaded
from autobatch.records import Efficiency, NoiseScale, Observer


class Worth(Protocol):
    """Measures what samples are worth once the throughputs are known."""

    @property
    def noise(self) -> NoiseScale | None:
        """The gradient noise scale, ``None`` before it was measured."""

    def require(self, prober: Prober) -> None:
        """Find out before the search whether it can be measured at all.

        Raises:
            SettingsError: If the prober has no way to.
        """

    def require_data(self, loaded: Loaded) -> None:
        """Find out before the first trial whether the data says anything of it.

        Raises:
            WorkloadError: If it does not.
        """

    def measure(
        self,
        prober: Prober,
        evidence: Evidence,
        observer: Observer,
        *,
        time_left_s: float | None,
        timeout_s: float,
    ) -> None:
        """Measure it with the workload that the prober has loaded.

        Args:
            prober: Loaded the workload.
            evidence: In it at least one size fitted.
            observer: Is told.
            time_left_s: Of the search, ``None`` without a limit.
            timeout_s: Give up after this time.
        """

    def of(self, batch_size: int) -> float:
        """What a sample is worth in a batch of this size; 1 where nothing is known."""

    def is_known(self) -> bool:
        """Whether the measurement says anything of what samples are worth."""

    def reason(self) -> str:
        """Why the size with the highest throughput times worth is the answer."""

    def efficiency(self, rates: Rates) -> Efficiency | None:
        """Throughput times worth of the sizes that ran, ``None`` if nothing is known."""

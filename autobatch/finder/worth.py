"""What a search needs to know about the value of a sample at each batch size."""

from __future__ import annotations

from typing import Protocol

from autobatch.decide.rates import Rates
from autobatch.finder.evidence import Evidence
from autobatch.probe.probers import Prober
from autobatch.probe.protocol import Loaded
from autobatch.records import Efficiency, NoiseScale, Observer


class Worth(Protocol):
    """Measures the value of a sample once the throughputs are known."""

    @property
    def noise(self) -> NoiseScale | None:
        """The gradient noise scale; ``None`` until it is measured."""

    def require(self, prober: Prober) -> None:
        """Check before the search that it can be measured at all.

        Raises:
            SettingsError: If the prober cannot measure it.
        """

    def require_data(self, loaded: Loaded) -> None:
        """Check before the first trial that the data allows the measurement.

        Raises:
            WorkloadError: If it does not, because every batch is the same.
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
            prober: Has loaded the workload.
            evidence: At least one size has fitted; its settings and trials are read.
            observer: Notified of progress.
            time_left_s: Seconds left to the search, ``None`` without a limit.
            timeout_s: Give up after this many seconds.
        """

    def of(self, batch_size: int) -> float:
        """Value of a sample in a batch of this size; 1 if nothing is known."""

    def is_known(self) -> bool:
        """Whether the goal needs the measurement, and it succeeded."""

    def reason(self) -> str:
        """Why the size with the highest throughput times value is the answer."""

    def efficiency(self, rates: Rates) -> Efficiency | None:
        """Throughput times value of the sizes that ran; ``None`` if nothing is known."""

"""What the finder and the checker ask of whoever runs trials for them."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from autobatch.probe.protocol import Loaded, NoisePlan, TimingPlan
from autobatch.records import NoiseScale, Trial


class Prober(Protocol):
    """Whoever can load a workload and run it at a batch size."""

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Build the workload, run one step of it, and read the machine's limits.

        Args:
            timeout_s: Give up after this time.
        """

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size; out of memory is an outcome, any other error is raised.

        Args:
            batch_size: The size to run.
            plan: How long to time steps.
            timeout_s: Give up after this time, with outcome ``TIMED_OUT``.
        """


@runtime_checkable
class NoiseProber(Protocol):
    """Whoever can measure the gradient noise scale of the workload that it has loaded."""

    def measure_noise(self, plan: NoisePlan, *, timeout_s: float | None = None) -> NoiseScale:
        """Measure the noise scale; the weights stay as they are.

        Args:
            plan: From which gradients, after which training.
            timeout_s: Give up after this time.

        Raises:
            WorkloadError: If the data or the gradients do not allow it.
            WorkerError: If it did not end in time, or ended without a result.
        """

"""The protocols of whatever runs trials for the finder and the products."""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

from autobatch.probe.protocol import Job, Loaded, TimingPlan
from autobatch.records import Trial

R = TypeVar("R")


class Prober(Protocol):
    """Loads a workload and runs it at a batch size."""

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
class AdjustableProber(Protocol):
    """Runs its trials in processes that it starts itself, and can start them otherwise."""

    def use_variables(self, variables: dict[str, str]) -> None:
        """Run what comes next with these environment variables, beside those of the settings.

        Args:
            variables: By name; empty for none in addition.
        """


@runtime_checkable
class JobProber(Protocol):
    """Loads a workload and carries out a product's own work on it."""

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """As ``Prober.load``."""

    def run(self, job: Job[R], *, timeout_s: float | None = None) -> R:
        """Run a job where the workload is.

        Args:
            job: What to do.
            timeout_s: End it after this time.

        Returns:
            Its result, or what ``job.from_crash`` returns if it ended without one.

        Raises:
            AutobatchError: What ``job.run`` or ``job.from_crash`` raises.
        """

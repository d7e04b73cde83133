"""A workload whose cost is a formula, on a device whose memory is a number.

The prober runs the package's own timing code on a clock that it turns itself, so that a search
of many sizes takes milliseconds and gives the same trials for the same seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from autobatch.errors import WorkloadError
from autobatch.noise.job import NoiseJob
from autobatch.probe.protocol import Loaded, TimingPlan
from autobatch.probe.trial.timing import time_steps, warm_up
from autobatch.records import (
    Environment,
    MemoryBudget,
    NoiseScale,
    Outcome,
    Settings,
    Trial,
    WorkloadSummary,
)
from autobatch.testing.device import SimulatedDevice


@dataclass(frozen=True, kw_only=True)
class SimulatedWorkload:
    """What a batch size costs.

    Attributes:
        peak_bytes: Peak memory of a step, by batch size.
        step_time_s: Time of a step, by batch size.
        noise_fraction: Standard deviation of the log of each step time.
        drift_fraction: Standard deviation of the log of the machine's speed between trials.
        outcomes: Sizes that end otherwise than by what they cost, such as ``KILLED``.
        broken_sizes: Sizes at which the user's code raises.
        dataset_size: Samples in an epoch, ``None`` if unknown.
        smallest_batch_size: Smallest size that can be trained with.
        optimizer: Class name of the optimizer.
        noise_scale: Gradient noise scale in samples; ``None`` if it cannot be measured.
    """

    peak_bytes: Callable[[int], int]
    step_time_s: Callable[[int], float]
    noise_fraction: float = 0.0
    drift_fraction: float = 0.0
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    broken_sizes: frozenset[int] = frozenset()
    dataset_size: int | None = None
    smallest_batch_size: int = 1
    optimizer: str = "SGD"
    noise_scale: float | None = 1000.0

    @classmethod
    def linear(
        cls,
        *,
        fixed_bytes: int = 2**28,
        per_sample_bytes: int = 2**20,
        latency_s: float = 2e-3,
        per_sample_s: float = 1e-4,
        noise_fraction: float = 0.0,
        drift_fraction: float = 0.0,
        dataset_size: int | None = None,
    ) -> SimulatedWorkload:
        """Make a workload whose memory and step time are affine in the batch size.

        Args:
            fixed_bytes: Memory of a step that does not depend on the batch.
            per_sample_bytes: Memory of each sample.
            latency_s: Time of a step that does not depend on the batch.
            per_sample_s: Time of each sample.
            noise_fraction: As of the class.
            drift_fraction: As of the class.
            dataset_size: As of the class.
        """
        return cls(
            peak_bytes=lambda size: fixed_bytes + per_sample_bytes * size,
            step_time_s=lambda size: latency_s + per_sample_s * size,
            noise_fraction=noise_fraction,
            drift_fraction=drift_fraction,
            dataset_size=dataset_size,
        )


class SimulatedProber:
    """Runs a simulated workload on a simulated device.

    Args:
        workload: Cost of each batch size.
        device: The device to run it on.
        settings: For the memory limit and the headroom.
        seed: Seed of the noise.

    Attributes:
        runs: Batch size and plan of every trial, in order.
        elapsed_s: The simulated clock.
    """

    def __init__(
        self,
        workload: SimulatedWorkload,
        device: SimulatedDevice,
        settings: Settings | None = None,
        *,
        seed: int = 0,
    ) -> None:
        self._workload = workload
        self._device = device
        self._settings = settings or Settings()
        self._random = random.Random(seed)
        self._budget_bytes = 0
        self.runs: list[tuple[int, TimingPlan]] = []
        self.elapsed_s = 0.0

    def clock(self) -> float:
        """Seconds of simulated time."""
        return self.elapsed_s

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        """Describe the workload."""
        budget = MemoryBudget.from_bounds(
            self._device.bounds(self._settings.memory_limit_bytes),
            headroom_fraction=self._settings.headroom_fraction,
        )
        self._budget_bytes = budget.budget_bytes
        return Loaded(
            workload=_summarize(self._workload),
            environment=make_environment(),
            device=self._device.name,
            budget=budget,
            memory_is_enforced=True,
            peak_uncertainty_fraction=self._device.peak_uncertainty_fraction,
            smallest_batch_size=self._workload.smallest_batch_size,
        )

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size in simulated time.

        Raises:
            WorkloadError: If the simulated workload raises at the smallest size.
        """
        self.runs.append((batch_size, plan))
        if batch_size in self._workload.broken_sizes:
            if batch_size > self._workload.smallest_batch_size:
                return Trial(
                    batch_size=batch_size, outcome=Outcome.FAILED, message="RuntimeError: broken"
                )
            raise WorkloadError(f"RuntimeError in a trial at batch size {batch_size}: broken")
        outcome = self._workload.outcomes.get(batch_size)
        if outcome is not None:
            return Trial(batch_size=batch_size, outcome=outcome)
        self._device.reset_peak()
        need_bytes = self._workload.peak_bytes(batch_size)
        left_bytes = self._device.capacity_bytes - self._device.used_by_others_bytes
        budget_bytes = self._budget_bytes
        if plan.is_confirmation:  # must fit what is left by then
            budget_bytes = min(budget_bytes, left_bytes)
        try:
            with self._device.enforce(budget_bytes):
                self._device.allocate(need_bytes)
        except MemoryError as error:
            return Trial(
                batch_size=batch_size,
                outcome=Outcome.OUT_OF_MEMORY,
                peak_bytes=self._device.read_peak().peak_bytes,
                message=str(error),
            )
        self._device.free(need_bytes)
        return self._time(batch_size, plan)

    def run(self, job: Any, *, timeout_s: float | None = None) -> Any:
        """Simulate a measurement of the noise scale, known to a tenth; no other job.

        Raises:
            WorkloadError: If the simulated gradients do not allow it.
        """
        if not isinstance(job, NoiseJob):
            raise WorkloadError(f"simulated: no {type(job).__name__}")
        plan, phi = job.plan, self._workload.noise_scale
        self.elapsed_s += plan.max_time_s
        if phi is None:
            raise WorkloadError("simulated: no noise scale")
        return NoiseScale(
            noise_scale=phi,
            low=0.9 * phi,
            high=1.1 * phi,
            confidence_fraction=0.9,
            gradient_variance=phi,
            squared_gradient_norm=1.0,
            micro_batch_size=plan.micro_batch_size,
            num_micro_batches=plan.max_micro_batches,
        )

    def _time(self, batch_size: int, plan: TimingPlan) -> Trial:
        drift = self._random.lognormvariate(0.0, self._workload.drift_fraction)

        def step() -> float:
            noise = self._random.lognormvariate(0.0, self._workload.noise_fraction)
            self.elapsed_s += self._workload.step_time_s(batch_size) * drift * noise
            return 0.0

        num_warmup_steps = warm_up(step, plan, self.clock)
        rounds = tuple(time_steps(step, plan, self.clock) for _ in range(plan.num_windows))
        peak_bytes = self._device.read_peak().peak_bytes or 0
        return Trial(
            batch_size=batch_size,
            outcome=Outcome.FITS,
            peak_bytes=peak_bytes,
            num_warmup_steps=num_warmup_steps,
            window_peaks_bytes=(peak_bytes,) * plan.num_windows if plan.is_confirmation else (),
            rounds=rounds,
        )


def _summarize(workload: SimulatedWorkload) -> WorkloadSummary:
    return WorkloadSummary(
        model="Simulated",
        num_parameters=0,
        data="simulated",
        loss="simulated",
        optimizer=workload.optimizer,
        optimizer_was_given=True,
        dataset_size=workload.dataset_size,
        base_batch_size=None,
        base_learning_rate=None,
        has_batch_norm=False,
        num_loader_workers=0,
        num_threads=1,
    )


def make_environment(**changes: Any) -> Environment:
    """A made-up environment, with some of its fields as given."""
    made = Environment(
        device_name="simulated device",
        driver_version=None,
        torch_version="simulated",
        python_version="simulated",
        platform="simulated",
        num_cores=1,
        isolation="process",
        variables={},
    )
    return replace(made, **changes)

"""The gradient noise scale as a job: the request and its result.

Importing this module does not load PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from autobatch.errors import WorkerError, WorkloadError
from autobatch.probe.probers import JobProber
from autobatch.probe.protocol import Crash, JobContext
from autobatch.records import NoiseScale


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortTraining:
    """Real training before the noise scale is measured, undone afterwards.

    Attributes:
        batch_size: Samples of a step.
        num_steps: Steps at most.
        max_time_s: Time after which no further one is started.
        rate_multiplier: Factor of the optimizer's learning rates.
        learning_rate: Replaces the optimizer's own rates before that factor.
    """

    batch_size: int
    num_steps: int
    max_time_s: float
    rate_multiplier: float = 1.0
    learning_rate: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisePlan:
    """From how many gradients to measure the noise scale, and after what training.

    Attributes:
        micro_batch_size: Samples of each.
        max_micro_batches: Most of them; never more than one pass through the dataset.
        min_micro_batches: Fewest of them, whatever the time.
        max_time_s: Time after which no further one is started.
        max_blocks: Most sums of gradients to hold at once.
        training: What to train before, ``None`` to measure at the present weights.
    """

    micro_batch_size: int
    max_micro_batches: int = 512
    min_micro_batches: int = 16
    max_time_s: float = 10.0
    max_blocks: int = 32
    training: ShortTraining | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseJob:
    """Measure the gradient noise scale; the weights stay as they are.

    Attributes:
        plan: From which gradients, after which training.
    """

    doing: ClassVar[str] = "while the gradient noise scale was measured"

    plan: NoisePlan

    def run(self, context: JobContext) -> NoiseScale:
        """Measure it."""
        from autobatch.noise.measure import measure_gradients

        is_trained = context.is_mid_training
        plan = replace(self.plan, training=None) if is_trained else self.plan
        return measure_gradients(context, plan)

    def from_crash(self, crash: Crash) -> NoiseScale:
        """Raise: there is no result.

        Raises:
            WorkerError: Always.
        """
        raise WorkerError(
            f"measuring the gradient noise scale: {crash.message}",
            hint="raise `memory_limit` or `trial_timeout`, or use `goal=throughput`",
            exit_code=crash.exit_code,
            stderr_tail=crash.stderr_tail,
        )


def measure_noise(
    prober: JobProber, plan: NoisePlan, *, timeout_s: float | None = None
) -> NoiseScale:
    """Measure the gradient noise scale of the workload that a prober has loaded.

    Args:
        prober: Runs the job.
        plan: From which gradients, after which training.
        timeout_s: Give up after this time.

    Raises:
        WorkloadError: If the data or the gradients do not allow it.
        WorkerError: If it did not end in time, or ended without a result.
    """
    return prober.run(NoiseJob(plan=plan), timeout_s=timeout_s)


def needs_real_data(data: str) -> WorkloadError:
    """The error for data from which the noise cannot be measured."""
    return WorkloadError(
        f"the gradient noise scale needs real data, and every batch of {data!r} is the same",
        hint="give train_loader, dataset or batch(batch_size)",
    )

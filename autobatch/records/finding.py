"""The whole result of a search."""

from __future__ import annotations

from dataclasses import dataclass, field

from autobatch.records.accumulation import AccumulationCheck
from autobatch.records.breakdown import MemoryBreakdown
from autobatch.records.contention import Contention
from autobatch.records.curves import MemoryCurve, ThroughputCurve
from autobatch.records.decision import Confidence, TimingDecision
from autobatch.records.enums import StopReason, WarningCode
from autobatch.records.loading import LoaderChoice
from autobatch.records.memory import MemoryBudget, MemoryForecast
from autobatch.records.noise import Efficiency, NoiseScale
from autobatch.records.ranks import GroupCost
from autobatch.records.recommendation import Recommendation
from autobatch.records.rehearsal import Rehearsal
from autobatch.records.settings import Settings
from autobatch.records.trial import Trial
from autobatch.records.workload import Environment, WorkloadSummary


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingWarning:
    """Something that a user should know: a code, and the figures that its text needs.

    Attributes:
        code: What it is about.
        figures: Numbers by name; ``autobatch.reporting.warnings`` says which code has which.
        details: What it is about in words, such as the reasons of a driver.
    """

    code: WarningCode
    figures: dict[str, float] = field(default_factory=dict)
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """The final run of the recommended size, after everything else that fitted.

    Attributes:
        batch_size: The size that ran.
        num_steps: Steps that it ran for, warm-up included.
        peak_bytes: Highest memory use, compared with the budget and with what was still
            available then.
        window_peaks_bytes: Peak of each part of the run, in order; they grow if memory leaks.
        window_num_steps: Timed steps of each part.
        step_time_s: Median time of a step; of a compiled model, which the search ran eagerly,
            the only one that is compiled.
        compile_time_s: What compiling it took; ``None`` if it is not compiled.
        eval_fits: Whether evaluation at this size fitted too, beside gradients and optimizer
            state; ``None`` if it raised.
        eval_peak_bytes: Highest memory use of that evaluation.
        eval_message: What it raised, or empty.
        also_ran: What ran besides steps on ordinary batches and that evaluation, in words.
    """

    batch_size: int
    num_steps: int
    peak_bytes: int | None
    window_peaks_bytes: tuple[int, ...]
    window_num_steps: tuple[int, ...]
    step_time_s: float | None = None
    compile_time_s: float | None = None
    eval_fits: bool | None = None
    eval_peak_bytes: int | None = None
    eval_message: str = ""
    also_ran: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthBucket:
    """Samples up to a length, and the batch size of them that fits in memory.

    Attributes:
        longest: Greatest length in the bucket.
        batch_size: The largest size that ran and fitted with samples of that length.
        peak_bytes: Its peak.
    """

    longest: int
    batch_size: int
    peak_bytes: int | None

    @property
    def max_tokens(self) -> int:
        """Padded tokens of a batch."""
        return self.longest * self.batch_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was asked for, what was measured where, and what follows.

    Attributes:
        target: What was probed, as the user named it.
        device: Device that the trials ran on, such as ``cpu`` or ``cuda:0``.
        settings: The settings of the search, whole.
        environment: Hardware and versions.
        workload: What was trained.
        budget: Memory that trials could use.
        host_budget: The machine's memory beside it, for a device that has its own; else ``None``.
        trials: Every trial, by batch size.
        memory_curve: Fitted peak memory; ``None`` with fewer than two sizes that fitted.
        throughput_curve: Fitted step time; ``None`` with fewer than three.
        decision: The estimates that it rests on, and how sure it is.
        recommendation: The answer.
        confirmation: Its final run; ``None`` if there was no time for it.
        warnings: What to know about it.
        stop_reason: Why the search went no further.
        search_time_s: Wall-clock time from loading the workload to the answer.
        eval_trials: Trials of evaluation, by batch size; empty if they were not asked for.
        buckets: Batch sizes by length, longest first; empty if they were not asked for.
        gradient_noise: The measured noise scale; ``None`` if it was not asked for.
        accumulation: Whether several passes give the gradient of one batch; ``None`` where a step
            is one pass.
        breakdown: Where the memory goes at the recommended size; ``None`` if it was not asked for.
        loading: Loader settings to train with; ``None`` where loading is not the bound.
        rehearsal: What of the training was run before it; ``None`` if it was not asked for.
        efficiency: Goodput by batch size; ``None`` without a noise scale.
        contention: What was done about processes that kept the cores busy; ``None`` if nothing.
        forecast: What was predicted of its memory; ``None`` if nothing.
        basis: What it rests on, for ``--reuse``: options, versions, hardware and code; empty unless
            the command line saved it.
        group: What it costs that several ranks train together; ``None`` of one process.
    """

    target: str
    device: str
    settings: Settings
    environment: Environment
    workload: WorkloadSummary
    budget: MemoryBudget
    trials: tuple[Trial, ...]
    memory_curve: MemoryCurve | None
    throughput_curve: ThroughputCurve | None
    decision: TimingDecision
    recommendation: Recommendation
    confirmation: Confirmation | None
    warnings: tuple[FindingWarning, ...]
    stop_reason: StopReason
    search_time_s: float
    host_budget: MemoryBudget | None = None
    eval_trials: tuple[Trial, ...] = ()
    buckets: tuple[LengthBucket, ...] = ()
    gradient_noise: NoiseScale | None = None
    efficiency: Efficiency | None = None
    contention: Contention | None = None
    accumulation: AccumulationCheck | None = None
    breakdown: MemoryBreakdown | None = None
    loading: LoaderChoice | None = None
    rehearsal: Rehearsal | None = None
    forecast: MemoryForecast | None = None
    basis: dict[str, str] = field(default_factory=dict)
    group: GroupCost | None = None

    @property
    def batch_size(self) -> int:
        """The recommended batch size."""
        return self.recommendation.batch_size

    @property
    def confidence(self) -> Confidence:
        """How sure the answer is; high where throughput was not asked for."""
        return self.decision.confidence

    @property
    def iterations_per_epoch(self) -> int | None:
        """Optimizer steps per epoch at the recommended size."""
        return self.recommendation.iterations_per_epoch

    @property
    def learning_rate(self) -> float | None:
        """Learning rate scaled to the recommended size; ``None`` without a base rate."""
        return self.recommendation.learning_rate

    @property
    def gradient_accumulation_steps(self) -> int:
        """Passes per optimizer step."""
        return self.recommendation.gradient_accumulation_steps

    @property
    def compiled_samples_per_s(self) -> float | None:
        """Throughput of the final run of a compiled model; all others are of eager runs.

        ``None`` if the model is not compiled or there was no final run.
        """
        final = self.confirmation
        if not self.workload.is_compiled or final is None or not final.step_time_s:
            return None
        return final.batch_size / final.step_time_s

    @property
    def epoch_price(self) -> float | None:
        """Price of an epoch on all devices, compiled where that ran; ``None`` without a price."""
        price, time_s = self.settings.price_per_hour, self.recommendation.epoch_time_s
        if price is None or time_s is None:
            return None
        compiled = self.compiled_samples_per_s
        speedup = compiled / self.recommendation.samples_per_s if compiled else 1.0
        return time_s / speedup / 3600 * price * self.recommendation.num_devices

    @property
    def eval_batch_size(self) -> int | None:
        """A size for evaluation that ran and fitted; ``None`` if evaluation did not run."""
        return self.recommendation.eval_batch_size

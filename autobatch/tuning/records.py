"""What came of a tuning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from autobatch.recommend.accumulation import split_global_batch
from autobatch.records import Contention, Environment, MemoryBudget, Settings, WorkloadSummary
from autobatch.tuning.asked import TuneSettings
from autobatch.tuning.ratios import interval_of, mean_of
from autobatch.tuning.sizes import Limits

if TYPE_CHECKING:
    import torch

#: Names and values of the levers that are put on; the user's own settings if empty.
Changes = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What decides which levers there are for a workload.

    Attributes:
        has_convolutions: Whether any weight is that of a two-dimensional convolution.
        is_compiled: Whether the model has been through ``torch.compile`` already.
        checkpoint_switch: The model's own method that switches checkpointing on, or empty.
        blocks: Names of the modules that are repeated, in order; empty if none are.
        optimizer: Class name of the optimizer; empty if the training step steps its own.
        optimizer_forms: Other implementations that the optimizer offers: ``fused``, ``foreach``.
        optimizer_has_state: Whether it has made steps.
        num_threads: CPU threads of a step.
        precisions: Arithmetic that the device offers besides the user's own.
        has_8bit_optimizer: Whether the class has a form with 8-bit state that is installed here.
    """

    has_convolutions: bool = False
    is_compiled: bool = False
    checkpoint_switch: str = ""
    blocks: tuple[str, ...] = ()
    optimizer: str = ""
    optimizer_forms: tuple[str, ...] = ()
    optimizer_has_state: bool = False
    num_threads: int = 1
    precisions: tuple[str, ...] = ()
    has_8bit_optimizer: bool = False


class AttemptOutcome(str, Enum):
    """What came of trying settings."""

    MEASURED = "measured"
    NOT_EXACT = "not_exact"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """How far a step with levers on is from the same step without: norms of differences.

    Attributes:
        loss_fraction: Of the loss.
        gradient_fraction: Of all gradients, over the norm of them.
        buffer_fraction: Of what the step left in buffers, such as running statistics.
        chance_fraction: Of the gradients of two steps that are both without.
        tolerance_fraction: Up to here they are the same.
    """

    loss_fraction: float
    gradient_fraction: float
    buffer_fraction: float
    chance_fraction: float
    tolerance_fraction: float

    @property
    def fault(self) -> str:
        """What differs, in words; empty if nothing does by more than rounding."""
        found = {
            "the loss": self.loss_fraction,
            "the gradients": self.gradient_fraction,
            "what a step leaves in buffers (running statistics)": self.buffer_fraction,
        }
        for name, fraction in found.items():
            if not fraction <= self.tolerance_fraction:
                return (
                    f"{name} by {fraction:.2g} of the norm, tolerance {self.tolerance_fraction:g}"
                )
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Settings that were tried, with the batch size that goes with them.

    Attributes:
        changes: Levers that were put on.
        outcome: What came of it.
        batch_size: Samples of a pass.
        samples_per_s: Estimate of the batch-size search.
        peak_bytes: Highest memory use at that size.
        ratios: Throughput over that of the start, in each round in which both ran in turn.
        truth: How far a step is from one without the levers; ``None`` where none touches it.
        message: Why it was not measured, or empty.
        time_s: Seconds that it took.
        sizes: Every batch size that fitted, with its throughput in samples per second and its peak.
    """

    changes: Changes
    outcome: AttemptOutcome
    batch_size: int | None = None
    samples_per_s: float | None = None
    peak_bytes: int | None = None
    ratios: tuple[float, ...] = ()
    truth: Truth | None = None
    message: str = ""
    time_s: float = 0.0
    sizes: tuple[tuple[int, float, int | None], ...] = ()

    @property
    def ratio(self) -> float:
        """Throughput over that of the start; 0 if it was not measured."""
        return mean_of(self.ratios) if self.ratios else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Settings that were held against others in turn, each run in a fresh process.

    Attributes:
        changes: Levers that were on.
        batch_size: Samples of a pass.
        rates_samples_per_s: Throughput in each round.
    """

    changes: Changes
    batch_size: int
    rates_samples_per_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a tuning starts from: the user's own settings.

    Attributes:
        device: Where it is trained.
        environment: Hardware and versions.
        workload: What is trained.
        budget: Memory that can be used.
        own_batch_size: The size that the user trains with now; the fastest if that is unknown or
            does not fit.
        own_ratio: Throughput at that size over that of the fastest size.
        facts: What decided which levers there are; ``None`` for a command.
        offers: Levers that can be tried, with their values; the start has none of them.
        refused: Why other levers were not tried, by name.
        placeholders: Values at the start of what a command is tuned by.
        limits: Where the batch-size search of other settings begins and ends.
        contention: What was done about processes that kept the cores busy, for every run; ``None``
            if nothing was.
    """

    device: str
    environment: Environment
    workload: WorkloadSummary
    budget: MemoryBudget
    own_batch_size: int
    own_ratio: float
    facts: Facts | None
    offers: dict[str, tuple[str, ...]]
    refused: dict[str, str]
    placeholders: dict[str, str]
    limits: Limits
    contention: Contention | None = None

    @property
    def remedy(self) -> dict[str, str]:
        """Variables of every run, against contention."""
        return {} if self.contention is None else self.contention.variables


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What was tried, and the settings to train with.

    Attributes:
        target: What was tuned, as the user named it.
        settings: Device, memory, precision, global batch.
        asked: What may be tuned.
        start: What it started from.
        attempts: All settings that were tried, in order: the first is the start at its best size.
        ladder: The attempts that led to the fastest, by their numbers, the start first.
        held: The fastest and the next held against the user's own settings, which come first.
        chosen: Number of the attempt to train with.
        is_sure: Whether the rounds leave no doubt that it is faster than the user's own settings.
        is_complete: Whether all was tried that there was to try.
        tuning_time_s: Seconds that it took.
    """

    target: str
    settings: Settings
    asked: TuneSettings
    start: Start
    attempts: tuple[Attempt, ...]
    ladder: tuple[int, ...]
    held: tuple[Held, ...]
    chosen: int
    is_sure: bool
    is_complete: bool
    tuning_time_s: float

    @property
    def best(self) -> Attempt:
        """The settings to train with."""
        return self.attempts[self.chosen]

    @property
    def changes(self) -> Changes:
        """Levers to put on."""
        return self.best.changes

    @property
    def batch_size(self) -> int:
        """Samples of a pass to train with."""
        return self.best.batch_size or self.start.own_batch_size

    @property
    def ratios(self) -> tuple[float, ...]:
        """Throughput over that of the user's own settings, by the rounds that held them in turn."""
        held = next((each for each in self.held[1:] if each.changes == self.changes), None)
        if held is None:
            return tuple(ratio / self.start.own_ratio for ratio in self.best.ratios)
        return self.ratios_of(held)

    def ratios_of(self, held: Held) -> tuple[float, ...]:
        """The same of any settings that were held, whether they are chosen or not."""
        own = self.held[0].rates_samples_per_s
        return tuple(a / b for a, b in zip(held.rates_samples_per_s, own, strict=True))

    @property
    def speedup(self) -> float:
        """How many times as fast as the user's own settings it trains."""
        return mean_of(self.ratios)

    @property
    def interval(self) -> tuple[float, float]:
        """An interval of 90 % for the speed-up."""
        return self.interval_of(self.ratios)

    def interval_of(self, ratios: Sequence[float]) -> tuple[float, float]:
        """An interval of 90 % for the mean of ratios of rounds.

        Args:
            ratios: Of two throughputs, at least one.
        """
        return interval_of(ratios, self.start.limits.noise_fraction)

    @property
    def gradient_accumulation_steps(self) -> int:
        """Passes per optimizer step with the chosen size."""
        return split_global_batch(self.settings, self.batch_size).steps

    def rate_of(self, attempt: Attempt) -> float:
        """Throughput in samples per second, on the scale of the start's."""
        return (self.attempts[0].samples_per_s or 0.0) * attempt.ratio

    def epoch_time_s(self, attempt: Attempt) -> float | None:
        """Time of an epoch; ``None`` if the number of samples or the throughput is unknown."""
        size = self.settings.dataset_size or self.start.workload.dataset_size
        rate = self.rate_of(attempt)
        return size / rate if size and rate else None

    def apply(
        self, model: torch.nn.Module, optimizer: torch.optim.Optimizer | None = None
    ) -> tuple[str, ...]:
        """Put the chosen levers on a model and its optimizer, in place.

        Args:
            model: The module, of the class that was tuned.
            optimizer: Its optimizer, which has made no step yet.

        Returns:
            What is left to do by yourself, as lines to paste.
        """
        from autobatch.tuning.tuned import apply_changes

        return apply_changes(self, model, optimizer)

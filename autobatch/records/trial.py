"""One batch size really run, and what was measured."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TypeVar

from autobatch import units
from autobatch.records.enums import Outcome
from autobatch.records.ranks import RankReading, merge_readings

N = TypeVar("N", int, float)


# As PyTorch's allocators and NumPy word it; mmap, for loader workers, in bytes as well.
_REQUEST = re.compile(
    r"(?:tried to allocate|unable to allocate|unable to mmap) "
    r"([1-9]\d*(?:\.\d+)?) (?:bytes|([KMGT]iB))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimingRound:
    """Steps timed without a break.

    Attributes:
        number: 0 for the steps of the first run; sizes timed in turn share a number above 0,
            so that what the machine did meanwhile cancels in their ratio.
        step_times_s: Wall-clock time of each step, fetching of the batch included; of a step of
            several passes, the time of one of them.
        data_times_s: The part of each step spent waiting for its batch.
    """

    number: int
    step_times_s: tuple[float, ...]
    data_times_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One batch size, really run.

    Attributes:
        batch_size: Samples per forward/backward pass.
        outcome: Whether it fitted, and if not, how it failed.
        peak_bytes: Highest memory use, the figure compared with the budget; for a trial that
            failed, what was in use when it did; ``None`` if nothing could be read.
        peak_allocated_bytes: Highest use by tensors, on accelerators.
        peak_reserved_bytes: Highest use by the caching allocator, on accelerators.
        peak_is_lower_bound: Whether ``peak_bytes`` was sampled, so that more may have been used
            between two samples.
        host_peak_bytes: Highest use of the machine's memory, by this process and its loader
            workers, pinned memory included; on the CPU the same as ``peak_bytes``.
        loader_bytes: The part of it that child processes held, batches on their way included:
            loader workers, and any other that the training starts.
        pinned_bytes: The part of it that was pinned for copies to a GPU.
        num_warmup_steps: Steps run before timing began.
        num_passes: Passes of a step; above 1 where training accumulates gradients at this size.
        window_peaks_bytes: Where a trial was run in several windows of steps, the peak of each.
        rounds: The timed steps; empty if the trial did not fit.
        page_faults_per_step: Minor page faults, on CPU.
        alloc_retries_per_step: Times per timed step that the caching allocator met its limit, gave
            its cache back and asked the driver again; ``None`` where none counts.
        kernel_time_fraction: Fraction of the steps' CPU time spent in the kernel, on CPU.
        others_busy_cores: Cores that other processes kept busy meanwhile, on CPU; ``None`` if
            that cannot be told.
        num_other_searches: Other searches by autobatch that were running on this machine.
        throttle_reasons: What held the device's clocks down during the timed steps, in words;
            empty if nothing did, ``None`` if that cannot be told.
        loss_is_finite: Whether every loss that was checked was finite.
        message: First line of the error that ended the trial, or empty.
        unknown: Why a figure is ``None``, by its name, where a reason is known.
        compile_time_s: Extra time of the first step of a compiled model.
        eval_fits: Whether an evaluation at this size fits too, beside what training holds;
            ``None`` if it was not tried or raised.
        eval_peak_bytes: Highest memory use of that evaluation.
        eval_message: What it raised, or empty.
        also_ran: What a final run did besides steps on ordinary batches and that evaluation, in
            words.
        ranks: What each process read, where several train together; the figures above are then the
            highest of them, and those of the process that failed.
    """

    batch_size: int
    outcome: Outcome
    peak_bytes: int | None = None
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    peak_is_lower_bound: bool = False
    host_peak_bytes: int | None = None
    loader_bytes: int | None = None
    pinned_bytes: int | None = None
    num_warmup_steps: int = 0
    num_passes: int = 1
    window_peaks_bytes: tuple[int, ...] = ()
    rounds: tuple[TimingRound, ...] = ()
    page_faults_per_step: float | None = None
    alloc_retries_per_step: float | None = None
    kernel_time_fraction: float | None = None
    others_busy_cores: float | None = None
    num_other_searches: int = 0
    throttle_reasons: tuple[str, ...] | None = None
    loss_is_finite: bool = True
    message: str = ""
    unknown: dict[str, str] = field(default_factory=dict)
    compile_time_s: float | None = None
    eval_fits: bool | None = None
    eval_peak_bytes: int | None = None
    eval_message: str = ""
    also_ran: tuple[str, ...] = ()
    ranks: tuple[RankReading, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether this size ran inside the budget."""
        return self.outcome is Outcome.FITS

    @property
    def needed_bytes(self) -> int | None:
        """The part of the peak that it cannot run without: all but the allocator's cache.

        At its limit a caching allocator gives its cache back and goes on, so that reserved memory
        proves nothing about what is too large.
        """
        parts = (self.peak_bytes, self.peak_reserved_bytes, self.peak_allocated_bytes)
        if None in parts:
            return self.peak_bytes
        peak_bytes, reserved_bytes, allocated_bytes = (part or 0 for part in parts)
        return peak_bytes - reserved_bytes + allocated_bytes

    @property
    def step_times_s(self) -> tuple[float, ...]:
        """All timed steps, in the order they ran."""
        return tuple(time for timed in self.rounds for time in timed.step_times_s)

    @property
    def data_times_s(self) -> tuple[float, ...]:
        """The part of each of them spent waiting for its batch."""
        return tuple(time for timed in self.rounds for time in timed.data_times_s)

    @property
    def step_time_s(self) -> float | None:
        """Median step time; ``None`` if nothing was timed."""
        times = self.step_times_s
        return median(times) if times else None

    @property
    def data_time_s(self) -> float | None:
        """Median time per step spent waiting for the batch."""
        times = self.data_times_s
        return median(times) if times else None

    @property
    def samples_per_s(self) -> float | None:
        """Throughput at the median step time."""
        step_time_s = self.step_time_s
        return self.batch_size / step_time_s if step_time_s else None

    @property
    def requested_bytes(self) -> int | None:
        """What the allocation that failed asked for, beside the peak; ``None`` if none says so."""
        if self.outcome is not Outcome.OUT_OF_MEMORY:
            return None
        found = _REQUEST.search(self.message)
        return units.parse_bytes(f"{found[1]}{found[2] or 'B'}") if found else None

    def with_round(self, again: Trial) -> Trial:
        """This trial with the timed steps of a second run of the same size added.

        Memory keeps the higher peak; what the steps cost the CPU keeps the newer figures, since
        the second run was made to time steps.
        """
        return replace(
            self.confirmed_by(again),
            rounds=(*self.rounds, *again.rounds),
            page_faults_per_step=again.page_faults_per_step,
            kernel_time_fraction=again.kernel_time_fraction,
            others_busy_cores=again.others_busy_cores,
        )

    def with_timing(self, timed: TimingRound) -> Trial:
        """This trial with more timed steps."""
        return replace(self, rounds=(*self.rounds, timed))

    @property
    def num_steps(self) -> int:
        """Steps that it ran for, those of the warm-up included."""
        return self.num_warmup_steps + len(self.step_times_s)

    def confirmed_by(self, again: Trial) -> Trial:
        """This trial with the figures of a second run of the same size, except its timed steps.

        Memory keeps the higher peak, and throttling whatever was seen in either run.

        Raises:
            ValueError: If it is of another size.
        """
        if again.batch_size != self.batch_size:
            raise ValueError(f"cannot merge sizes {self.batch_size} and {again.batch_size}")
        both = (self.throttle_reasons, again.throttle_reasons)
        told = [reasons for reasons in both if reasons is not None]
        merged = replace(
            self,
            peak_bytes=_highest(self.peak_bytes, again.peak_bytes),
            peak_allocated_bytes=_highest(self.peak_allocated_bytes, again.peak_allocated_bytes),
            peak_reserved_bytes=_highest(self.peak_reserved_bytes, again.peak_reserved_bytes),
            host_peak_bytes=_highest(self.host_peak_bytes, again.host_peak_bytes),
            loader_bytes=_highest(self.loader_bytes, again.loader_bytes),
            pinned_bytes=_highest(self.pinned_bytes, again.pinned_bytes),
            alloc_retries_per_step=_highest(
                self.alloc_retries_per_step, again.alloc_retries_per_step
            ),
            num_other_searches=max(self.num_other_searches, again.num_other_searches),
            ranks=merge_readings(self.ranks, again.ranks),
            throttle_reasons=tuple(dict.fromkeys(sum(told, ()))) if told else None,
            loss_is_finite=self.loss_is_finite and again.loss_is_finite,
        )
        reasons = {**self.unknown, **again.unknown}
        unknown = {name: why for name, why in reasons.items() if getattr(merged, name) is None}
        return replace(merged, unknown=unknown)


def _highest(*figures: N | None) -> N | None:
    return max((figure for figure in figures if figure is not None), default=None)

"""What fits on GPUs that are not here, as predicted from a trace."""

# ruff: noqa: RUF009 - each call makes a field

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from autobatch.records.kinds import COUNT, FLAG, TEXT, Kind
from autobatch.records.options import check_options, option
from autobatch.records.settings import Settings

#: Cards to plan for if none is named: those that are rented most, of five generations.
USUAL_CARDS = ("t4", "l4", "a10g", "rtx-4090", "l40s", "a100-40gb", "a100-80gb", "h100-80gb")


def _parse_names(value: Any) -> tuple[str, ...]:
    names = value.split(",") if isinstance(value, str) else value
    names = tuple(name.strip() for name in names)
    if not names or not all(names):
        raise ValueError
    return names


def _parse_prices(value: Any) -> dict[str, float]:
    if not isinstance(value, str):
        return {str(name): float(price) for name, price in dict(value).items()}
    name, equals, price = value.rpartition("=")
    if not equals or not name or not 0 < float(price) < math.inf:
        raise ValueError
    return {name.strip(): float(price)}


def _join(prices: Iterable[dict[str, float]]) -> dict[str, float]:
    return {name: each[name] for each in prices for name in each}


_NAMES = Kind(
    _parse_names,
    "names separated by commas",
    "a100-40gb,rtx-4090, for example",
    "NAMES",
    show=",".join,
)
_PRICES = Kind(
    _parse_prices,
    "NAME=PRICE",
    "a100-40gb=1.29, for example",
    "NAME=PRICE",
    show=lambda prices: " ".join(f"{name}={price:g}" for name, price in prices.items()),
    join=_join,
)
_card = partial(option, group="GPUs")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """What to plan for. Each field is an option, with its default, kind and help.

    Raises:
        SettingsError: If a value cannot be used; the message repeats it.
    """

    # fmt: off
    gpus: tuple[str, ...] | None = _card(
        None, _NAMES, f"GPUs to plan for, or all. Default: {', '.join(USUAL_CARDS)}.", name="gpu")
    gpu_memory: tuple[str, ...] | None = _card(
        None, _NAMES, "GPUs to plan for by memory and compute capability, such as 24GiB:8.9.",
        metavar="SIZES")
    calibration: str | None = _card(
        None, TEXT, "Take what a GPU holds besides tensors from a finding saved by a probe on it.",
        metavar="FILE")
    prices: dict[str, float] = _card(
        {}, _PRICES, "Price of a GPU, in any unit: choose the cheapest that fits. May be repeated.",
        name="price")
    batch_size: int | None = _card(
        None, COUNT, "Say whether this size fits, and on which GPU. Default: the largest on each.")
    expandable_segments: bool = _card(
        False, FLAG, "Plan with the allocator's setting expandable_segments:True.")
    # fmt: on

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRange:
    """The largest batch size that fits, and how sure that is.

    Attributes:
        likely: With what is in the middle of all that is assumed; 0 if no size fits.
        low: With all that is assumed at its worst: it fits in any case.
        high: With all of it at its best: nothing larger does.
    """

    likely: int
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedPeak:
    """The peak of a training on a card.

    Attributes:
        batch_size: Samples of a pass.
        fits: Whether it ran to its end in the card's memory, with what is likely besides.
        is_certain: Whether that holds whatever is assumed, within what is thought possible.
        peak_bytes: Of the process: what the allocator reserves, and what is likely besides. Where
            it does not fit, with no end of memory.
        allocated_bytes: Of tensors alone.
        parts_bytes: What was in use at that moment, by what it is for; largest first.
        modules_bytes: The same by module of the model, of its outermost two levels.
        num_alloc_retries: Times that the allocator gave its cache back to go on, each of which
            costs time.
    """

    batch_size: int
    fits: bool
    is_certain: bool
    peak_bytes: int
    allocated_bytes: int
    parts_bytes: dict[str, int]
    modules_bytes: dict[str, int]
    num_alloc_retries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CardPlan:
    """What fits on one card.

    Attributes:
        gpu: Its name.
        compute_capability: As ``8.9``.
        memory_bytes: What PyTorch sees of its memory.
        memory_source: Where that is from.
        outside_low_bytes: What is held besides the allocator, at the least.
        outside_high_bytes: The same at the most.
        outside_source: Where these are from.
        largest: The largest batch size.
        at_largest: The peak there; ``None`` if no size fits.
        at_batch_size: The peak at the size that was asked about; ``None`` if none was.
        price: As given.
        estimated_samples_per_s: Throughput at the size that was asked about, else at the largest
            that is likely to fit: an estimate, for cards whose speed others measured, and for that
            of the calibration; ``None`` for others.
    """

    gpu: str
    compute_capability: str
    memory_bytes: int
    memory_source: str
    outside_low_bytes: int
    outside_high_bytes: int
    outside_source: str
    largest: SizeRange
    at_largest: PredictedPeak | None
    at_batch_size: PredictedPeak | None
    price: float | None = None
    estimated_samples_per_s: float | None = None

    @property
    def fits(self) -> bool:
        """Whether the size that was asked about fits, or if none was, any."""
        if self.at_batch_size is not None:
            return self.at_batch_size.fits
        return self.largest.likely > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Memory in use over the last step that was traced, at moments of it.

    Attributes:
        gpu: On which card.
        batch_size: At which size.
        positions: Allocations and frees since the step began.
        parts_bytes: Bytes in use by what they are for, at each position.
        begins: Where forward, backward and the optimizer begin.
    """

    gpu: str
    batch_size: int
    positions: tuple[int, ...]
    parts_bytes: dict[str, tuple[int, ...]]
    begins: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a training would take on GPUs that are not here. Nothing was run.

    Attributes:
        target: What was traced, as the user named it.
        settings: Precision, accumulation, number of devices.
        asked: Cards and size.
        model: Class name of the model.
        num_parameters: Trainable parameters.
        optimizer: Class name of the optimizer.
        cards: What fits on each card, in the order they were named.
        choice: The card to take: the cheapest that fits, where prices are given, else the one with
            the least memory; ``None`` if it fits on none.
        timeline: Memory over time on that card, or on the first: at the size that was asked about,
            at the largest, or at the first that was traced.
        band_fraction: Memory that a trace does not see, at the most, over what it sees.
        unseen: What that is, in words.
        assumed: What was assumed, one sentence each.
        versions: Of PyTorch and the library that the model is from.
        traced_batch_sizes: Sizes that were traced.
        trace_time_s: What that took.
    """

    target: str
    settings: Settings
    asked: PlanSettings
    model: str
    num_parameters: int
    optimizer: str | None
    cards: tuple[CardPlan, ...]
    choice: str | None
    timeline: Timeline = field(repr=False)
    band_fraction: float
    unseen: tuple[str, ...]
    assumed: tuple[str, ...]
    versions: dict[str, str]
    traced_batch_sizes: tuple[int, ...]
    trace_time_s: float

    @property
    def fits(self) -> bool:
        """Whether it fits on any card."""
        return self.choice is not None

    def __str__(self) -> str:
        from autobatch.planning.report.text import render_plan
        from autobatch.reporting.screen import as_text

        return as_text(render_plan, self, width=100)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryLimit:
    """Memory that there is for an allocator's segments.

    Attributes:
        name: Of the card, or what it is.
        low_bytes: At the least.
        high_bytes: At the most.
    """

    name: str
    low_bytes: int
    high_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RerunAtLimit:
    """Whether a recording would have fitted into a limit.

    Attributes:
        limit: The name of the limit.
        fits: Whether all requests are served in the middle of it.
        is_certain: Whether that is so with all of it, from the least to the most.
        num_alloc_retries: Times that the allocator gave its cache back to go on.
        failed_bytes: The first request that failed; ``None`` if none did.
    """

    limit: str
    fits: bool
    is_certain: bool
    num_alloc_retries: int
    failed_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A recording under one setting of the allocator.

    Attributes:
        setting: As in ``PYTORCH_ALLOC_CONF``, or ``as recorded``.
        peak_reserved_bytes: Most that it reserves with no end of memory.
        least_bytes: Least memory for segments in which all requests are served.
        at_limits: How it goes within each limit.
    """

    setting: str
    peak_reserved_bytes: int
    least_bytes: int
    at_limits: tuple[RerunAtLimit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotPlan:
    """What a recorded training would have taken otherwise. Nothing was run.

    Attributes:
        snapshot: The file.
        device: Index of the GPU that it recorded.
        num_requests: Requests in it.
        num_initial_blocks: Blocks that were in use when the recording began.
        peak_allocated_bytes: Most that was in use.
        ran_out: Whether a request of the recording failed.
        limits: Memory that was asked about.
        variants: The recording under each setting.
    """

    snapshot: str
    device: int
    num_requests: int
    num_initial_blocks: int
    peak_allocated_bytes: int
    ran_out: bool
    limits: tuple[MemoryLimit, ...]
    variants: tuple[Variant, ...]

    @property
    def fits(self) -> bool:
        """Whether it fits somewhere, if anything was asked about."""
        within = [each for variant in self.variants for each in variant.at_limits]
        return not within or any(each.fits for each in within)

"""How a DataLoader loads its batches, and how fast each way was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderSettings:
    """What a ``DataLoader`` is told about its workers; the names are its own.

    Attributes:
        num_workers: Worker processes; 0 if batches are made by the process that trains.
        prefetch_factor: Batches that each worker makes ahead; ``None`` without workers.
        pin_memory: Whether batches are copied into page-locked memory.
        persistent_workers: Whether workers live for longer than an epoch.
    """

    num_workers: int
    prefetch_factor: int | None = None
    pin_memory: bool = False
    persistent_workers: bool = False

    def as_options(self) -> dict[str, Any]:
        """Keyword arguments of ``DataLoader``; those that need workers only if there are any."""
        options: dict[str, Any] = {"num_workers": self.num_workers, "pin_memory": self.pin_memory}
        if self.num_workers:
            options["prefetch_factor"] = self.prefetch_factor
            options["persistent_workers"] = self.persistent_workers
        return options


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderTiming:
    """Training steps timed with one way of loading.

    Attributes:
        settings: The way.
        samples_per_s: Throughput of training, start-up of workers not counted; ``None`` if it
            could not be timed or took more memory than the budget.
        start_s: Time until the first batch came.
        host_peak_bytes: Highest use of host memory, workers included; ``None`` if unknown.
        loader_bytes: The part of it in workers and in batches on their way.
        message: Why there is no throughput; empty if there is one.
    """

    settings: LoaderSettings
    samples_per_s: float | None = None
    start_s: float = 0.0
    host_peak_bytes: int | None = None
    loader_bytes: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoaderChoice:
    """The way of loading to train with.

    Attributes:
        batch_size: Samples of a batch.
        timings: Each way in the order in which it was timed, the user's own first.
        chosen: The way to train with, which is the user's own if no other was clearly faster;
            ``None`` if nothing could be told.
        samples_per_s: Throughput with it.
        own_samples_per_s: Throughput with the user's own, timed in turn with it.
        reason: Why nothing could be told; empty if something was chosen.
        remedy: What would let it be told, in the imperative; empty if nothing is known.
    """

    batch_size: int
    timings: tuple[LoaderTiming, ...] = ()
    chosen: LoaderSettings | None = None
    samples_per_s: float | None = None
    own_samples_per_s: float | None = None
    reason: str = ""
    remedy: str = ""

    @property
    def is_own(self) -> bool:
        """Whether the user's loader is best left as it is."""
        return bool(self.timings) and self.chosen == self.timings[0].settings

    @property
    def host_peak_bytes(self) -> int | None:
        """Highest use of host memory with what was chosen; ``None`` if unknown."""
        return max((each.host_peak_bytes or 0 for each in self._of_chosen), default=0) or None

    @property
    def _of_chosen(self) -> list[LoaderTiming]:
        wanted = None if self.chosen is None else _without_life(self.chosen)
        return [each for each in self.timings if _without_life(each.settings) == wanted]


def _without_life(settings: LoaderSettings) -> dict[str, Any]:
    return {**settings.as_options(), "persistent_workers": None}

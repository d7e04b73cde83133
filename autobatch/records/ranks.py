"""What each of several processes that train together read of a trial, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """The collectives of one kind in a step.

    Attributes:
        collective: Such as ``all-reduce``.
        num_calls: How many.
        num_bytes: Of the larger of what goes in and what comes out, as ``nccl-tests`` counts.
    """

    collective: str
    num_calls: int
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankReading:
    """One rank in a trial. Times and exchanges are those of one step, the last of the warm-up.

    Attributes:
        rank: Which one.
        peak_bytes: Its highest memory use; ``None`` if nothing could be read.
        busy_s: Time of the step in which it did not wait for others; ``None`` if it had none.
        wait_s: Time in which it did.
        exchanges: Its collectives by kind; ``None`` if it had no such step.
    """

    rank: int
    peak_bytes: int | None = None
    busy_s: float | None = None
    wait_s: float | None = None
    exchanges: tuple[Exchange, ...] | None = None

    @property
    def num_exchanges(self) -> int:
        """Collectives of all kinds."""
        return sum(each.num_calls for each in self.exchanges or ())

    @property
    def exchanged_bytes(self) -> int:
        """Bytes of all of them."""
        return sum(each.num_bytes for each in self.exchanges or ())


@dataclass(frozen=True, slots=True, kw_only=True)
class RankSize:
    """The batch size of one rank, in proportion to its speed.

    Attributes:
        rank: Which one.
        batch_size: Samples in one of its passes.
        loss_weight: What its loss is multiplied by, so that the average of the ranks' gradients is
            that of all samples: ``batch_size * num_ranks / sum of all``.
    """

    rank: int
    batch_size: int
    loss_weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCost:
    """What it costs that several ranks train together, at the recommended size.

    Attributes:
        straggler: The rank that the others wait for; ``None`` if none is slower throughout.
        straggler_factor: Its busy time over the median of the others.
        alone_step_time_s: Step of one rank by itself; ``None`` if it was not measured.
        together_step_time_s: Step of all ranks, right after it.
        scaling_efficiency: The first over the second: throughput of all over that of as many ranks
            that need nothing of each other.
        enough_batch_size: Smallest power of two whose step is within the tolerance of one that
            needs no other rank, if that costs as much time at every size.
        sizes: Of each rank, in proportion to its speed; empty if they were not asked for.
        sizes_step_time_s: Step of all ranks with them; ``None`` if they did not fit.
        reason: Why something was not measured.
    """

    straggler: int | None = None
    straggler_factor: float | None = None
    alone_step_time_s: float | None = None
    together_step_time_s: float | None = None
    scaling_efficiency: float | None = None
    enough_batch_size: int | None = None
    sizes: tuple[RankSize, ...] = ()
    sizes_step_time_s: float | None = None
    reason: str = ""


def merge_readings(
    first: tuple[RankReading, ...], again: tuple[RankReading, ...]
) -> tuple[RankReading, ...]:
    """The readings of two runs of one size: the higher peaks, and the newer times.

    Args:
        first: Of the first run.
        again: Of the second.
    """
    before = {each.rank: each.peak_bytes or 0 for each in first}
    return (
        tuple(
            replace(each, peak_bytes=max(before.get(each.rank, 0), each.peak_bytes or 0) or None)
            for each in again
        )
        or first
    )

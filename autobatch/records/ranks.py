"""What each of several processes that train together read of a trial."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class RankReading:
    """One rank in a trial. Times and exchanges are those of one step, the last of the warm-up.

    Attributes:
        rank: Which one.
        peak_bytes: Its highest memory use; ``None`` if nothing could be read.
        busy_s: Time of the step in which it did not wait for others; ``None`` if it had none.
        wait_s: Time in which it did.
        exchanged_bytes: Size of the tensors that it took to collectives.
        num_exchanges: How many collectives those were.
    """

    rank: int
    peak_bytes: int | None = None
    busy_s: float | None = None
    wait_s: float | None = None
    exchanged_bytes: int | None = None
    num_exchanges: int | None = None


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

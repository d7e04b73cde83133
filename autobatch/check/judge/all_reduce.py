"""A verdict on how fast processes add up a tensor among them."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from autobatch.check.records import Verdict
from autobatch.records import RequirementName, Status, Unknown
from autobatch.units import format_bytes

# Of 20 times the median lies between the 6th and the 15th with a probability of 0.96, however
# they are distributed: an interval of order statistics.
_LOW, _HIGH = 6 / 21, 15 / 21


@dataclass(frozen=True, slots=True, kw_only=True)
class AllReduce:
    """The same all-reduce, several times.

    Attributes:
        backend: What exchanged it: ``gloo``, ``nccl``.
        num_ranks: Processes that took part.
        num_bytes: Of the tensor.
        times_s: Of each, on the slowest rank.
    """

    backend: str
    num_ranks: int
    num_bytes: int
    times_s: tuple[float, ...]

    @property
    def rates_bytes_per_s(self) -> list[float]:
        """Bus bandwidth in ascending order, as ``nccl-tests`` has it.

        That is what each link carries, whatever the number of ranks.
        """
        carried = self.num_bytes * 2 * (self.num_ranks - 1) / self.num_ranks
        return sorted(carried / time_s for time_s in self.times_s)


def judge_all_reduce(limit: float, seen: AllReduce | Unknown) -> Verdict:
    """Hold a bandwidth against the least that is required.

    Args:
        limit: Bytes per second.
        seen: What was measured, or why nothing was.
    """
    name = RequirementName.ALL_REDUCE_MIN
    if isinstance(seen, Unknown):
        return Verdict.inconclusive(name, limit, seen.reason)
    rates = seen.rates_bytes_per_s
    low, high = (rates[round(part * (len(rates) + 1)) - 1] for part in (_LOW, _HIGH))
    status = Status.of(is_met=low >= limit, is_violated=high < limit)
    what = f"{format_bytes(seen.num_bytes)} between {seen.num_ranks} processes by {seen.backend}"
    return Verdict(
        requirement=name,
        limit=limit,
        status=status,
        value=median(rates),
        low=low,
        high=high,
        reason=f"{what}; the interval holds the limit" if status is Status.INCONCLUSIVE else what,
    )

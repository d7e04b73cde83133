"""What a leader asks of the worker of one rank."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.probe.protocol import LoadRequest, TrialRequest
from autobatch.ranks.settings import Parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberedLoadRequest(LoadRequest):
    """Load a workload beside other ranks.

    Attributes:
        number: Of the request.
    """

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankLoadRequest(NumberedLoadRequest):
    """Load a target as one rank of several.

    Attributes:
        rank: Which one.
        num_ranks: How many there are.
        parallel: How the model is wrapped, where the target does not say.
        host: Where the store is.
        port: Its port there.
        prefix: The part of it for these workers; those that replace them have another one.
    """

    rank: int
    num_ranks: int
    parallel: Parallel
    host: str
    port: int
    prefix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTrialRequest(TrialRequest):
    """Run one batch size on all ranks.

    Attributes:
        number: Of the request.
        sizes: A batch size for each rank, in the place of the one for all.
    """

    number: int
    sizes: tuple[int, ...] = ()

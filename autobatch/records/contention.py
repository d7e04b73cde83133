"""What a search did about other processes that kept the cores busy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """Threads of a step had to wait for cores that others used, and what helped.

    All timings of the finding were made with the remedy.

    Attributes:
        others_busy_cores: Cores that other processes kept busy during the first trials.
        num_cores: Cores that the trials could use.
        num_threads: Threads of a step; ``None`` if as many as without the remedy.
        variables: Environment variables that the trials ran with in addition.
        speedup: Throughput with the remedy over that without it.
        batch_size: The size at which that was measured.
    """

    others_busy_cores: float
    num_cores: int
    num_threads: int | None
    variables: dict[str, str]
    speedup: float
    batch_size: int

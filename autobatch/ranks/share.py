"""What the ranks of one host share: its memory, and the samples of an epoch."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from torch.utils.data import DistributedSampler, IterableDataset, RandomSampler

from autobatch.devices.cpu import CpuDevice
from autobatch.ranks.control import Control
from autobatch.records import MemoryBound
from autobatch.workload.batches import BatchSource, LoaderSource

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# Limits of each process by itself.
_OWN_LIMITS = "RLIMIT"


class SharedCpu(CpuDevice):
    """The CPU of a rank, whose host has others: each may use an equal part of its memory.

    Args:
        control: Tells what the ranks hold, at a moment at which all are idle.
        num_ranks: How many there are, on all hosts.
    """

    def __init__(self, control: Callable[[], Control], num_ranks: int) -> None:
        super().__init__()
        self._control, self._num_ranks = control, num_ranks

    def bounds(self, memory_limit_bytes: int | None) -> tuple[MemoryBound, ...]:
        """The limits of this process: of those that all share, its part.

        None goes on before all have looked, so that no rank counts what another one's trial holds.
        """
        own_bytes = psutil.Process().memory_info().rss
        bounds = super().bounds(memory_limit_bytes)
        said = {
            "host": [platform.node(), _BOOT_ID.read_text() if _BOOT_ID.exists() else ""],
            "own_bytes": own_bytes,
            "free_bytes": {each.name: each.available_bytes - own_bytes for each in bounds},
        }
        heard = map(json.loads, self._control().gather(json.dumps(said), self._num_ranks))
        return share_bounds(bounds, [each for each in heard if each["host"] == said["host"]])


def share_bounds(
    bounds: tuple[MemoryBound, ...], ranks: list[dict[str, Any]]
) -> tuple[MemoryBound, ...]:
    """Share out the limits of a host.

    Args:
        bounds: As one rank sees them: memory that it holds itself is available to it.
        ranks: What each rank of the host holds (``own_bytes``), and what it saw to be free beside
            that (``free_bytes``, by the name of a limit).

    Returns:
        The limits of one rank, with an equal part of what all of them may hold.
    """
    held_bytes, count = sum(each["own_bytes"] for each in ranks), len(ranks)

    def share(bound: MemoryBound) -> MemoryBound:
        if bound.name.startswith(_OWN_LIMITS):
            return bound
        free_bytes = min(each["free_bytes"].get(bound.name, 0) for each in ranks)
        return MemoryBound.of(
            f"{bound.name}, shared by {count} ranks" if count > 1 else bound.name,
            bound.capacity_bytes // count,
            min(bound.capacity_bytes, free_bytes + held_bytes) // count,
        )

    return tuple(map(share, bounds))


def share_samples(source: BatchSource, rank: int, num_ranks: int) -> BatchSource:
    """The samples of one rank, as ``DistributedSampler`` gives them to it in training.

    A sampler for several ranks stays as it is, and so does data that has no order of its own.

    Args:
        source: The samples of all.
        rank: Which rank.
        num_ranks: How many there are.
    """
    if not isinstance(source, LoaderSource) or isinstance(source.dataset, IterableDataset):
        return source
    sampler = source.options.get("sampler")
    if hasattr(sampler, "num_replicas") or not hasattr(source.dataset, "__len__"):
        return source
    shuffles = sampler is None or isinstance(sampler, RandomSampler)
    own: DistributedSampler[Any] = DistributedSampler(
        source.dataset, num_ranks, rank, shuffle=shuffles
    )
    return source.with_options(sampler=own)

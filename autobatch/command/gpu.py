"""What the hooks of processes that train on NVIDIA GPUs say of their memory.

    total = what others use + available
                              available = kept free + budget
                                                      budget >= reserved at its highest + overhead

What CUDA itself takes for a process before anything is allocated counts as used by others; what it
takes beyond that later, for kernels and communication, is the overhead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from autobatch.command.events import Speaker
from autobatch.records import MemoryBound, MemoryBudget, Outcome, Trial
from autobatch.units import format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuMemory:
    """The memory of one GPU, as the process that trains on it sees it.

    Attributes:
        index: Number of the GPU.
        name: Product name.
        total_bytes: All of it.
        available_bytes: What others did not use when the process began.
        reserved_bytes: The most that PyTorch's caching allocator held.
        allocated_bytes: The most that tensors took.
        overhead_bytes: What CUDA took besides since then.
    """

    index: int
    name: str
    total_bytes: int
    available_bytes: int
    reserved_bytes: int
    allocated_bytes: int
    overhead_bytes: int

    @property
    def peak_bytes(self) -> int:
        """What is held against the budget."""
        return self.reserved_bytes + self.overhead_bytes

    def budget(self, limit_bytes: int | None, headroom_fraction: float) -> MemoryBudget:
        """What a process may use.

        Args:
            limit_bytes: The user's own limit.
            headroom_fraction: Fraction of each limit to keep free.
        """
        bounds = [MemoryBound.of("memory of the GPU", self.total_bytes, self.available_bytes)]
        if limit_bytes is not None:
            bounds.append(MemoryBound.of_user(limit_bytes))
        return MemoryBudget.from_bounds(tuple(bounds), headroom_fraction=headroom_fraction)


def read_gpu(trainers: Iterable[Speaker]) -> GpuMemory | None:
    """The memory of the rank that uses the most of its GPU; ``None`` without a GPU."""
    ranks = [_read(each) for each in trainers if "gpu_memory" in each.facts]
    return max(ranks, key=lambda each: each.peak_bytes, default=None)


def _read(trainer: Speaker) -> GpuMemory:
    _, index, name, total_bytes, available_bytes = trainer.facts["gpu"]
    _, peak_reserved, peak_allocated, reserved_bytes, free_bytes = trainer.facts["gpu_memory"]
    return GpuMemory(
        index=index,
        name=name,
        total_bytes=total_bytes,
        available_bytes=available_bytes,
        reserved_bytes=peak_reserved,
        allocated_bytes=peak_allocated,
        overhead_bytes=max(0, available_bytes - free_bytes - reserved_bytes),
    )


def with_gpu(trial: Trial, gpu: GpuMemory | None) -> Trial:
    """A trial whose memory is that of a GPU, where it trained on one.

    Args:
        trial: With its host memory.
        gpu: The memory of the GPU.
    """
    if gpu is None:
        return trial
    return replace(
        trial,
        peak_bytes=gpu.peak_bytes,
        peak_allocated_bytes=gpu.allocated_bytes,
        peak_reserved_bytes=gpu.reserved_bytes,
        others_busy_cores=None,
    )


def held_against_gpu(trial: Trial, budget_bytes: int) -> Trial:
    """Mark a trial as over budget if it took more of its GPU than that.

    Args:
        trial: With the memory of its GPU.
        budget_bytes: What it may use of it.
    """
    peak_bytes = trial.peak_bytes or 0
    if not trial.fits or peak_bytes <= budget_bytes:
        return trial
    peak, budget = format_bytes(peak_bytes), format_bytes(budget_bytes)
    message = f"memory of {peak} exceeded the budget of {budget}"
    return replace(trial, outcome=Outcome.OVER_BUDGET, message=message)

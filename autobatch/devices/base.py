"""What the rest of the package needs from a device."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from autobatch.records import MemoryBound, Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakReading:
    """Highest memory use since ``reset_peak``.

    Attributes:
        peak_bytes: The figure compared with the budget; ``None`` if the device cannot tell.
        allocated_bytes: The part held by tensors, where an allocator counts them.
        reserved_bytes: The part held by the caching allocator, where there is one.
        is_lower_bound: Whether ``peak_bytes`` may have been exceeded between two looks, on a
            device that keeps no high-water mark.
    """

    peak_bytes: int | None
    allocated_bytes: int | None = None
    reserved_bytes: int | None = None
    is_lower_bound: bool = False


def highest(readings: Sequence[PeakReading]) -> PeakReading:
    """Combine readings of one stretch of work: the highest of each figure."""

    def top(figures: Iterable[int | None]) -> int | None:
        return max((figure for figure in figures if figure is not None), default=None)

    return PeakReading(
        peak_bytes=top(reading.peak_bytes for reading in readings),
        allocated_bytes=top(reading.allocated_bytes for reading in readings),
        reserved_bytes=top(reading.reserved_bytes for reading in readings),
        is_lower_bound=any(reading.is_lower_bound for reading in readings),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuUse:
    """What the kernel counted for this process since it began.

    Attributes:
        minor_faults: Page faults served without the disk.
        user_time_s: CPU time in user code, over all threads.
        kernel_time_s: CPU time in the kernel, over all threads.
        machine_busy_s: CPU time of all processes of the machine together, over all cores;
            ``None`` if this process may use only some of the cores.
    """

    minor_faults: int
    user_time_s: float
    kernel_time_s: float
    machine_busy_s: float | None


class Mark(Protocol):
    """A place in a device's queue of work, such as ``torch.cuda.Event``."""

    def elapsed_time(self, end_event: Any) -> float:
        """Milliseconds from when the device reached this mark to when it reached a later one."""


class Device(Protocol):
    """One device to train on."""

    name: str
    """As PyTorch writes it: ``cpu``, ``cuda:0``, ``xpu:0``, ``mps``."""

    can_fork: bool
    """Whether a trial may run in a forked child of a process that has loaded the model."""

    peak_uncertainty_fraction: float
    """How far the memory that a larger batch adds may lie from a straight line.

    A caching allocator rounds; a general-purpose one also keeps what it was given back.
    """

    def hardware_name(self) -> str:
        """What the hardware calls itself."""

    def driver_version(self) -> str | None:
        """Version of the driver, ``None`` where there is none."""

    def unsupported_reason(self, precision: Precision) -> str | None:
        """Why a precision cannot be trained with here, ``None`` if it can."""

    def bounds(self, memory_limit_bytes: int | None) -> tuple[MemoryBound, ...]:
        """Every limit on the memory that this process can come to hold, at this moment."""

    def synchronize(self) -> None:
        """Wait until all work that was started is done."""

    def mark(self) -> Mark | None:
        """Mark this place in the queue of work; ``None`` where steps are to be waited for."""

    def release(self) -> None:
        """Give memory that is no longer used back, so that a trial does not affect the next."""

    def reset_peak(self) -> None:
        """Begin a new measurement of the peak."""

    def read_peak(self) -> PeakReading:
        """Highest use since ``reset_peak``."""

    def enforce(self, budget_bytes: int) -> AbstractContextManager[bool]:
        """Make allocations beyond a budget fail as ordinary exceptions.

        The context's value says whether the budget is enforced.
        """

    def count_alloc_retries(self) -> int | None:
        """Times so far that the allocator met its limit, gave its cache back and went on.

        Returns:
            The count; ``None`` where none is kept.
        """

    def cpu_use(self) -> CpuUse | None:
        """What steps cost the CPU, ``None`` where that does not bound the device's work."""

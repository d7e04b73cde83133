"""A device whose memory is a number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from autobatch.devices.base import CpuUse, Mark, PeakReading
from autobatch.records import MemoryBound, Precision


class SimulatedDevice:
    """A device of a given size, whose memory is taken with ``allocate``.

    Args:
        capacity_bytes: All there is.
        used_by_others_bytes: What other processes hold.
    """

    name = "simulated"
    can_fork = False

    def __init__(
        self,
        capacity_bytes: int,
        *,
        used_by_others_bytes: int = 0,
        peak_uncertainty_fraction: float = 0.1,
    ) -> None:
        self.capacity_bytes = capacity_bytes
        self.used_by_others_bytes = used_by_others_bytes
        self.peak_uncertainty_fraction = peak_uncertainty_fraction
        self._used_bytes = 0
        self._peak_bytes = 0
        self._budget_bytes: int | None = None

    def allocate(self, num_bytes: int) -> None:
        """Take memory.

        Raises:
            MemoryError: If it is not there, or the budget is enforced and does not hold it.
        """
        limit = self.capacity_bytes - self.used_by_others_bytes
        if self._budget_bytes is not None:
            limit = min(limit, self._budget_bytes)
        if self._used_bytes + num_bytes > limit:
            raise MemoryError(f"simulated: {num_bytes} bytes asked for, limit {limit} bytes")
        self._used_bytes += num_bytes
        self._peak_bytes = max(self._peak_bytes, self._used_bytes)

    def free(self, num_bytes: int) -> None:
        """Give memory back."""
        self._used_bytes -= num_bytes

    def hardware_name(self) -> str:
        """The device's name."""
        return "simulated device"

    def driver_version(self) -> str | None:
        """There is no driver."""
        return None

    def unsupported_reason(self, precision: Precision) -> str | None:
        """Every precision is as good as any other."""
        return None

    def bounds(self, memory_limit_bytes: int | None) -> tuple[MemoryBound, ...]:
        """The device's size, and the user's own limit."""
        available_bytes = self.capacity_bytes - self.used_by_others_bytes
        bounds = [MemoryBound.of("simulated memory", self.capacity_bytes, available_bytes)]
        if memory_limit_bytes is not None:
            bounds.append(MemoryBound.of_user(memory_limit_bytes))
        return tuple(bounds)

    def synchronize(self) -> None:
        """Nothing is ever under way."""

    def mark(self) -> Mark | None:
        """There is no queue."""
        return None

    def release(self) -> None:
        """Nothing is ever kept."""

    def reset_peak(self) -> None:
        """Begin a new measurement."""
        self._peak_bytes = self._used_bytes

    def read_peak(self) -> PeakReading:
        """Highest use since ``reset_peak``."""
        return PeakReading(peak_bytes=self._peak_bytes)

    @contextmanager
    def enforce(self, budget_bytes: int) -> Iterator[bool]:
        """Refuse allocations beyond a budget."""
        before, self._budget_bytes = self._budget_bytes, budget_bytes
        try:
            yield True
        finally:
            self._budget_bytes = before

    def count_alloc_retries(self) -> int | None:
        """Nothing is ever kept."""
        return None

    def cpu_use(self) -> CpuUse | None:
        """No CPU is simulated."""
        return None

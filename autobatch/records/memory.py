"""How much memory a device has, and how much may be used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBound:
    """One limit on the memory that a training process can come to hold.

    Attributes:
        name: What sets the limit, in a user's words: ``physical memory``, ``memory limit``.
        capacity_bytes: All memory under this limit.
        available_bytes: What the process could hold: the capacity less what others use.
    """

    name: str
    capacity_bytes: int
    available_bytes: int

    @classmethod
    def of(cls, name: str, capacity_bytes: int, available_bytes: int) -> MemoryBound:
        """Make a bound, with the available memory clipped to its capacity.

        Args:
            name: What sets the limit, in a user's words.
            capacity_bytes: All memory under this limit.
            available_bytes: What the process could hold, as measured.
        """
        return cls(
            name=name,
            capacity_bytes=capacity_bytes,
            available_bytes=max(0, min(available_bytes, capacity_bytes)),
        )

    @classmethod
    def of_user(cls, memory_limit_bytes: int) -> MemoryBound:
        """The limit that the user sets, on this process alone."""
        return cls.of("memory limit", memory_limit_bytes, memory_limit_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudget:
    """What a trial may use: ``capacity - used by others - headroom``.

    Attributes:
        capacity_bytes: All there is under the limit that binds.
        used_by_others_bytes: What other processes hold of it.
        headroom_fraction: Fraction of the capacity kept free.
        budget_bytes: What may be used.
        bound_by: Name of the limit that binds.
    """

    capacity_bytes: int
    used_by_others_bytes: int
    headroom_fraction: float
    budget_bytes: int
    bound_by: str

    @classmethod
    def from_bounds(
        cls, bounds: tuple[MemoryBound, ...], *, headroom_fraction: float
    ) -> MemoryBudget:
        """The budget under the tightest of several limits.

        Args:
            bounds: At least one limit.
            headroom_fraction: Fraction of each limit's capacity to keep free.
        """
        budgets = [
            cls(
                capacity_bytes=bound.capacity_bytes,
                used_by_others_bytes=bound.capacity_bytes - bound.available_bytes,
                headroom_fraction=headroom_fraction,
                budget_bytes=max(
                    0, bound.available_bytes - round(headroom_fraction * bound.capacity_bytes)
                ),
                bound_by=bound.name,
            )
            for bound in bounds
        ]
        return min(budgets, key=lambda budget: budget.budget_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryForecast:
    """What a trace of the step predicted, beside what a trial measured.

    Attributes:
        batch_size: The recommended size.
        predicted_bytes: Its peak, as replayed.
        measured_bytes: Its peak, as it ran.
        largest_batch_size: The largest size that fits, as replayed; 0 if none.
    """

    batch_size: int
    predicted_bytes: int
    measured_bytes: int
    largest_batch_size: int

    @property
    def error_fraction(self) -> float:
        """How much too high the prediction is; negative if it is too low."""
        return self.predicted_bytes / self.measured_bytes - 1

"""From traces at two batch sizes to the trace at any other.

Most storages are as large at every size, or in proportion to it. Those that are neither are
trusted only where a third trace confirms the line through the first two.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from autobatch.prediction.trace import Reduction, Storage, Trace
from autobatch.prediction.work import Operation

#: The sizes to trace: the smallest that BatchNorm takes, and its neighbour.
SMALL, LARGE = 2, 3
#: The size that confirms, where it is needed: a square that looks like a line at two does not at
#: three.
THIRD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceLine:
    """Two traces with one structure.

    Attributes:
        small: At the smaller size.
        large: At the larger one.
    """

    small: Trace
    large: Trace

    def at(self, batch_size: int) -> Trace:
        """The trace at a batch size; its frees are in the order of the larger trace."""
        return replace(
            self.large,
            batch_size=batch_size,
            operations=(),  # ``operations_at`` has them, for the few who ask
            storages=tuple(
                self._storage_at(batch_size, one, other) if one != other else other
                for one, other in zip(self.small.storages, self.large.storages, strict=True)
            ),
        )

    def operations_at(self, batch_size: int) -> tuple[Operation, ...]:
        """What the last step computes at a batch size; empty if the two compute unlike things."""
        pairs = [*zip(self.small.operations, self.large.operations, strict=False)]
        is_same = len(self.small.operations) == len(self.large.operations) and all(
            (one.kind, one.units) == (other.kind, other.units) for one, other in pairs
        )
        if not is_same:
            return ()
        return tuple(
            replace(
                one,
                num_flops=self._number_at(batch_size, one.num_flops, other.num_flops),
                num_bytes=self._number_at(batch_size, one.num_bytes, other.num_bytes),
            )
            for one, other in pairs
        )

    @property
    def needs_third(self) -> bool:
        """Whether a storage is neither constant nor in proportion to the batch size."""
        small, large = self.small.batch_size, self.large.batch_size
        return any(
            one != other and one * large != other * small
            for each in zip(self.small.storages, self.large.storages, strict=True)
            for one, other in zip(*map(_numbers_of, each), strict=True)
        )

    def explain_difference(self, third: Trace) -> str:
        """Say in which storage a third trace is not on the line; empty if it is in none."""
        return explain_difference(self.at(third.batch_size), third, same_sizes=True)

    def _storage_at(self, batch_size: int, one: Storage, other: Storage) -> Storage:
        num_bytes = self._number_at(batch_size, one.num_bytes, other.num_bytes)
        if one.reduction is None or other.reduction is None:
            return replace(other, num_bytes=num_bytes)
        num_outputs, num_inputs, width = (
            self._number_at(batch_size, *numbers)
            for numbers in zip(_sizes_of(one.reduction), _sizes_of(other.reduction), strict=True)
        )
        reduction = replace(
            other.reduction, num_outputs=num_outputs, num_inputs=num_inputs, width=width
        )
        return replace(other, num_bytes=num_bytes, reduction=reduction)

    def _number_at(self, batch_size: int, one: int, other: int) -> int:
        small, large = self.small.batch_size, self.large.batch_size
        slope = (other - one) // (large - small)
        return one + slope * (batch_size - small)


def explain_difference(one: Trace, other: Trace, *, same_sizes: bool = False) -> str:
    """Say where the structures of two traces part; empty if they do not.

    Frees are not compared: autocast ends its copies of the weights in changing order.

    Args:
        one: A trace.
        other: Another, at another batch size.
        same_sizes: Whether storages must have the same sizes, too.
    """
    for index, (mine, theirs) in enumerate(zip(one.storages, other.storages, strict=False)):
        if (mine.operator, mine.module) != (theirs.operator, theirs.module):
            return (
                f"allocation {index} is by {mine.operator} at batch size {one.batch_size} and by "
                f"{theirs.operator} at {other.batch_size}"
            )
        if same_sizes and _numbers_of(mine) != _numbers_of(theirs):
            return f"{theirs.operator} in {theirs.module or 'the step'} does not grow in a line"
    if len(one.storages) != len(other.storages):
        return (
            f"{len(one.storages)} allocations at batch size {one.batch_size} and "
            f"{len(other.storages)} at {other.batch_size}"
        )
    return ""


def _numbers_of(storage: Storage) -> tuple[int, ...]:
    sizes = () if storage.reduction is None else _sizes_of(storage.reduction)
    return (storage.num_bytes, *sizes)


def _sizes_of(reduction: Reduction) -> tuple[int, int, int]:
    return reduction.num_outputs, reduction.num_inputs, reduction.width

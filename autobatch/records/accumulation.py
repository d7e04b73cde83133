"""Whether passes that accumulate gradients train as one batch of the same samples does."""

from __future__ import annotations

from dataclasses import dataclass

# Rounding stays far below it; a mean over unequal numbers of tokens does not.
_SAME_FRACTION = 0.02
# Two gradients of one batch differ by chance where a step draws random numbers.
_CHANCE_RATIO = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccumulationCheck:
    """The gradient of one batch against that of the same samples in several passes.

    Each difference is the norm of the difference of both gradients over the norm of the first, at
    most 1.

    Attributes:
        batch_size: Samples of the batch.
        num_passes: Passes that the same samples were split into.
        loss_difference_fraction: With BatchNorm at its running statistics, so that what differs
            is the loss.
        norm_difference_fraction: With BatchNorm as in training; ``None`` if there is none.
        chance_fraction: Difference of two gradients of the same batch.
        reason: Why the gradients could not be compared; empty if they were.
    """

    batch_size: int
    num_passes: int
    loss_difference_fraction: float = 0.0
    norm_difference_fraction: float | None = None
    chance_fraction: float = 0.0
    reason: str = ""

    @property
    def loss_differs(self) -> bool:
        """Whether the loss of a batch is another than the mean of those of its parts."""
        return not self.reason and self.loss_difference_fraction > self._limit

    @property
    def norm_differs(self) -> bool:
        """Whether BatchNorm makes a difference beside the loss."""
        if self.reason or self.norm_difference_fraction is None:
            return False
        return self.norm_difference_fraction > max(self._limit, 1.1 * self.loss_difference_fraction)

    @property
    def _limit(self) -> float:
        return max(_SAME_FRACTION, _CHANCE_RATIO * self.chance_fraction)

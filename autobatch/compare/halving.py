"""Successive halving: most sizes are dropped after a part of the epochs.

All sizes train for a few epochs, the better half of them twice as long, and so on (Jamieson and
Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization"). With
``n`` sizes each round costs as many epochs as any other, so that the whole takes about
``log2(n) / n`` of training them all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def plan_rounds(num_sizes: int, num_epochs: int) -> tuple[int, ...]:
    """Epochs, counted from the beginning, after which sizes are dropped; the last is the end.

    Args:
        num_sizes: Sizes compared.
        num_epochs: Epochs of a whole run.

    Returns:
        Ascending; as many rounds as it takes to come down to one size, as far as there are
        epochs for them.
    """
    num_rounds = max(1, math.ceil(math.log2(max(1, num_sizes))))
    ends = {max(1, round(num_epochs / 2**index)) for index in range(num_rounds)}
    return tuple(sorted(ends))


def find_survivors(losses: Mapping[int, float | None]) -> tuple[int, ...]:
    """The better half of the sizes, rounded up.

    Args:
        losses: Loss so far by size; ``None`` where there is none that is finite.
    """
    ranked = sorted(losses, key=lambda size: _rank(losses[size]))
    return tuple(sorted(ranked[: math.ceil(len(ranked) / 2)]))


def _rank(loss: float | None) -> float:
    return math.inf if loss is None or not math.isfinite(loss) else loss

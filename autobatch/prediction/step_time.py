"""How long a step takes on a GPU that is not here: an estimate, from its operators.

    operator --> max(flops / peak, bytes / bandwidth) x its kind's factor --> sum x the card's scale

An operator is bound by arithmetic or by memory (the roofline of Williams, Waterman and Patterson,
CACM 52(4), 2009). How far its kind stays behind, and by how much a card differs from its data
sheet, was fitted to step times that others measured: ``scripts.plan.step_times``.
"""

from __future__ import annotations

from collections.abc import Iterable

from autobatch.cards import Card
from autobatch.cards.peaks import peaks_of
from autobatch.prediction.work import Operation, WorkKind

#: What launching an operator from Python takes at the least: 4.8 to 5.5 microseconds, from rows of
#: milabench at batch size 1.
_LAUNCH_S = 5e-6

# Fitted on 2026-11-29 to 60 models forward and 60 in training, timed by timm, and four trainings
# of milabench; docs/plan.md has the errors.
_NARROW = (WorkKind.GROUPED, WorkKind.GROUPED_GRADIENT, WorkKind.DEPTHWISE)
_FACTORS = {
    WorkKind.PRODUCT: 0.71,
    WorkKind.CONVOLUTION: 1.37,
    WorkKind.CONVOLUTION_GRADIENT: 2.15,
    WorkKind.GROUPED: 2.97,
    WorkKind.GROUPED_GRADIENT: 21.55,
    WorkKind.DEPTHWISE: 1.88,
    WorkKind.REDUCTION: 1.7,
    WorkKind.POINTWISE: 0.46,
    WorkKind.COPY: 0.8,
    WorkKind.OPTIMIZER: 1.0,
}
_SCALES = {
    "rtx-3090": 1.0,
    "rtx-4090": 0.96,
    "rtx-5090": 1.11,
    "rtx-pro-6000-max-q": 1.15,
    "l40s": 0.91,
}


def scale_of(card: Card) -> float | None:
    """By how much a card is slower than its data sheet says; ``None`` where nobody measured it."""
    return _SCALES.get(card.name)


def estimate_step_s(
    operations: Iterable[Operation], card: Card, *, passes: float = 1
) -> float | None:
    """Seconds that a step would take on a card of scale 1.

    Args:
        operations: What the step computes.
        card: The card; one whose clock or bandwidth is unknown has no estimate.
        passes: Passes of the step over those that ``operations`` have.
    """
    operations = list(operations)
    bounds_s = bounds_of(operations, card)
    if bounds_s is None:
        return None
    num_updates = sum(each.kind is WorkKind.OPTIMIZER for each in operations)
    number = num_updates + passes * (len(operations) - num_updates)
    total_s = sum(
        _FACTORS[kind] * bound_s * (1 if kind is WorkKind.OPTIMIZER else passes)
        for kind, bound_s in bounds_s.items()
    )
    return max(number * _LAUNCH_S, total_s)


def bounds_of(operations: Iterable[Operation], card: Card) -> dict[WorkKind, float] | None:
    """Least seconds that operators would take by a card's data sheet, by their kind.

    Args:
        operations: They.
        card: The card; one whose clock or bandwidth is unknown has none.
    """
    peaks, bandwidth = peaks_of(card), card.bandwidth_bytes_per_s
    if peaks is None or bandwidth is None:
        return None
    bounds_s = dict.fromkeys(WorkKind, 0.0)
    for each in operations:
        # What a group has to multiply is too little for a tensor core: memory bounds it.
        num_flops = 0 if each.kind in _NARROW else each.num_flops
        bounds_s[each.kind] += max(num_flops / peaks[each.units], each.num_bytes / bandwidth)
    return bounds_s

"""What a target would take on a GPU that is not here: what a predicted baseline keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

# A module has the growth, rather than one of its parts, where no part has this much of it. Of what
# a wider layer takes, a third is the gradient that the layer behind it makes.
_MOST_FRACTION = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedMemory:
    """The memory of a target at one batch size, as replayed.

    Attributes:
        target: The target, as the user wrote it.
        batch_size: Samples per forward/backward pass.
        precision: Arithmetic of a step.
        gpu: The GPU, by its name in the table.
        versions: Of PyTorch and the libraries that the target is from.
        peak_bytes: Of the process: what is likely, of what it holds besides the allocator, too.
        low_bytes: The same at the least.
        high_bytes: At the most.
        modules_bytes: What was in use at the peak of tensors, by the module that it belongs to.
    """

    target: str
    batch_size: int
    precision: str
    gpu: str
    versions: dict[str, str]
    peak_bytes: int
    low_bytes: int
    high_bytes: int
    modules_bytes: dict[str, int] = field(repr=False)


def find_grown(now: Mapping[str, int], before: Mapping[str, int]) -> tuple[str, int, int] | None:
    """Find the innermost module in which most of the growth is.

    Args:
        now: Bytes in use by module; a module's own, without its parts.
        before: The same of the baseline.

    Returns:
        Its name, empty for what is in no module, and its bytes before and now, parts included;
        ``None`` if nothing has grown.
    """
    totals_now, totals_before = _with_parts(now), _with_parts(before)
    growth = totals_now[""] - totals_before[""]
    if growth <= 0:
        return None
    grown = [
        name
        for name in totals_now
        if totals_now[name] - totals_before[name] >= _MOST_FRACTION * growth
    ]
    name = max(grown, key=lambda each: len(each.split(".")) if each else 0)
    return name, totals_before[name], totals_now[name]


def _with_parts(modules_bytes: Mapping[str, int]) -> Counter[str]:
    totals: Counter[str] = Counter()
    for name, num_bytes in modules_bytes.items():
        path = name.split(".") if name else []
        for depth in range(len(path) + 1):
            totals[".".join(path[:depth])] += num_bytes
    return totals

"""How long samples are, and which are the longest."""

from __future__ import annotations

import bisect
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from autobatch.records import LengthScan
from autobatch.workload.order import visit_in_random_order
from autobatch.workload.user_code import calling_user_code

_SCAN_TIME_S = 2.0
_ELEMENTS = "elements"
_MAX_STEPS_DOWN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ScannedLengths:
    """What a scan found.

    Attributes:
        scan: In numbers.
        longest: Indices of all samples that were looked at, longest first.
        lengths: Length by index.
    """

    scan: LengthScan | None
    longest: tuple[int, ...]
    lengths: dict[int, int]


def scan_lengths(
    dataset: Any,
    length: Callable[[Any], int] | None = None,
    *,
    seed: int = 0,
    max_time_s: float = _SCAN_TIME_S,
    clock: Callable[[], float] = time.monotonic,
) -> ScannedLengths:
    """Look at samples in random order until all are seen or the time is up.

    Args:
        dataset: Map-style.
        length: The user's measure of a sample; without it, its elements are counted.
        seed: Of the order.
        max_time_s: When to stop.
        clock: Returns seconds from any origin.

    Raises:
        WorkloadError: If the user's measure raises or returns no number.
    """
    unknown = ScannedLengths(scan=None, longest=(), lengths={})
    try:
        num_samples = len(dataset)
    except TypeError:  # it does not tell how far its indices go
        return unknown
    order = visit_in_random_order(num_samples, seed)
    begin, lengths = clock(), {}
    for index in order:
        try:
            sample = dataset[index]
        except Exception:
            # It may be readable only where training reads it, such as in a loader's worker. If
            # it is not readable there either, the first trial says so.
            return unknown
        lengths[index] = _measure(sample, length)
        if clock() - begin > max_time_s:
            break
    values = list(lengths.values())
    scan = LengthScan(
        num_scanned=len(values),
        num_samples=num_samples,
        shortest=min(values),
        median=float(statistics.median(values)),
        longest=max(values),
        measure=_ELEMENTS if length is None else f"by {_name_of(length)}()",
        steps_down=_step_down(sorted(set(values))),
    )
    longest = tuple(sorted(lengths, key=lambda index: (-lengths[index], index)))
    return ScannedLengths(scan=scan, longest=longest, lengths=lengths)


def fetch_samples(dataset: Any, indices: Sequence[int]) -> list[Any]:
    """Fetch samples of a map-style dataset, as a loader does.

    Args:
        dataset: The dataset.
        indices: Which samples.
    """
    if callable(getattr(dataset, "__getitems__", None)):
        return list(dataset.__getitems__(list(indices)))
    return [dataset[index] for index in indices]


def count_elements(sample: Any) -> int:
    """Numbers, characters or tokens in a sample, however it is nested."""
    if isinstance(sample, torch.Tensor):
        return sample.numel()
    if isinstance(sample, numpy.ndarray):
        return int(sample.size)
    if isinstance(sample, (str, bytes)):
        return len(sample)
    if isinstance(sample, Mapping):
        return sum(count_elements(part) for part in sample.values())
    if isinstance(sample, (list, tuple, set)):
        return sum(count_elements(part) for part in sample)
    size = getattr(sample, "size", None)  # an image of PIL's
    if isinstance(size, tuple) and len(size) == 2:
        return int(size[0] * size[1])
    return sum(count_elements(part) for part in getattr(sample, "__dict__", {}).values()) or 1


def _step_down(lengths: list[int]) -> tuple[int, ...]:
    """Lengths that samples really have, each at most half of the one before.

    Args:
        lengths: Each length once, in order.
    """
    steps: list[int] = []
    while lengths and len(steps) < _MAX_STEPS_DOWN:
        steps.append(lengths[-1])
        lengths = lengths[: bisect.bisect_right(lengths, lengths[-1] // 2)]
    return tuple(steps)


def _name_of(length: Callable[[Any], int]) -> str:
    name = str(getattr(length, "__name__", ""))
    return name if name.isidentifier() else "length"


def _measure(sample: Any, length: Callable[[Any], int] | None) -> int:
    if length is None:
        return count_elements(sample)
    hint = "it is called with one sample of the dataset, and returns a whole number"
    with calling_user_code("'length' failed on a sample", hint):
        return int(length(sample))

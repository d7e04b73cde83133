"""How long samples are, and which are the longest."""

from __future__ import annotations

import bisect
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy
import torch

from autobatch.records import LengthScan
from autobatch.workload.order import visit_in_random_order
from autobatch.workload.tensors import find_tensors
from autobatch.workload.user_code import calling_user_code

_SCAN_TIME_S = 2.0
_ELEMENTS = "elements"
_TOKENS = "tokens"
_TOKENS_KEY = "input_ids"
_NUM_QUANTILES = 33
# Batches of a short and a long sample are padded if they hold as much as those of two long ones.
_SHORT_FRACTION = 0.8
_PADDED_FRACTION = 0.95
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
    begin, lengths, has_tokens = clock(), {}, False
    for index in order:
        try:
            sample = dataset[index]
        except Exception:
            # It may be readable only where training reads it, such as in a loader's worker. If
            # it is not readable there either, the first trial says so.
            return unknown
        has_tokens = length is None and _find_tokens(sample) is not None
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
        measure=_name_measure(length, has_tokens=has_tokens),
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


def with_padding(
    found: ScannedLengths, dataset: Any, collate: Callable[[list[Any]], Any]
) -> ScannedLengths:
    """Add how lengths are distributed, if batches are padded to their longest sample.

    Args:
        found: The result of a scan of ``dataset``.
        dataset: Map-style.
        collate: Makes a batch of samples.
    """
    scan = found.scan
    if scan is None or scan.shortest > _SHORT_FRACTION * scan.longest:
        return found
    try:
        short, long = fetch_samples(dataset, [found.longest[-1], found.longest[0]])
        if not _is_sequence(long):  # a collate function may scale images
            return found
        mixed, alike = (_count_numbers(collate([each, long])) for each in (short, long))
    except Exception:  # the first trial says what is wrong with it
        return found
    if not alike or mixed < _PADDED_FRACTION * alike:
        return found
    lengths = numpy.array(list(found.lengths.values()))
    at = numpy.linspace(0, 1, _NUM_QUANTILES)
    quantiles = tuple(numpy.quantile(lengths, at, method="nearest").astype(int).tolist())
    return replace(found, scan=replace(scan, quantiles=quantiles))


def _is_sequence(sample: Any) -> bool:
    if _find_tokens(sample) is not None:
        return True
    tensors = find_tensors(sample)
    return bool(tensors) and all(tensor.dim() <= 2 for tensor in tensors)


def _count_numbers(batch: Any) -> int:
    tokens = _find_tokens(batch)
    return sum(tensor.numel() for tensor in find_tensors(batch if tokens is None else tokens))


def _find_tokens(sample: Any) -> Any:
    """The token ids of a sample or a batch as libraries for language name them, or ``None``."""
    if isinstance(sample, (tuple, list)) and sample:
        sample = sample[0]
    return sample.get(_TOKENS_KEY) if isinstance(sample, Mapping) else None


def _name_measure(length: Callable[[Any], int] | None, *, has_tokens: bool) -> str:
    if length is not None:
        return f"by {_name_of(length)}()"
    return _TOKENS if has_tokens else _ELEMENTS


def _name_of(length: Callable[[Any], int]) -> str:
    name = str(getattr(length, "__name__", ""))
    return name if name.isidentifier() else "length"


def _measure(sample: Any, length: Callable[[Any], int] | None) -> int:
    if length is None:
        tokens = _find_tokens(sample)  # not its mask and its labels, which are as long
        return count_elements(sample if tokens is None else tokens)
    hint = "it is called with one sample of the dataset, and returns a whole number"
    with calling_user_code("'length' failed on a sample", hint):
        return int(length(sample))

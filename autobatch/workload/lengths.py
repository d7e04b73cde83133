"""How long samples are, and which are the largest by one criterion or another.

primary   the length: tokens, all elements, or the first number of the user's measure
others    each part of a sample and its dimensions, or the other numbers of that measure
mixed     one largest by each of them, which a batch is padded to, then the longest
"""

from __future__ import annotations

import bisect
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy

from autobatch.records import LengthScan
from autobatch.workload.order import visit_in_random_order
from autobatch.workload.sizes import SampleSizes
from autobatch.workload.tensors import find_tensors
from autobatch.workload.user_code import calling_user_code

#: A user's measure of a sample: one number, several, or several by name. The first is its length.
Length: TypeAlias = Callable[[Any], Any]
#: Of the batch that has the largest sample by each criterion, to all of which it is padded.
PADDING = "padding"
_SCAN_TIME_S = 2.0
# Counts come before dimensions.
_MAX_CRITERIA = 5
_MAX_PARTS = 32
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
        largest: The same indices, largest first, by each other criterion.
    """

    scan: LengthScan | None
    longest: tuple[int, ...] = ()
    lengths: dict[int, int] = field(default_factory=dict)
    largest: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def list_worst(self, batch_size: int) -> Iterator[tuple[str, list[int]]]:
        """The criterion and the samples of each largest batch.

        Args:
            batch_size: Samples of a batch; all that were looked at again and again, if too few.
        """
        orders = dict(self.largest)
        if self.scan is not None and self.scan.differ:
            orders = {self.scan.measure.removeprefix("by "): self.longest, **orders}
        if len(orders) > 1:
            tops = [order[0] for order in orders.values()]
            yield PADDING, _take([*tops, *self.longest], batch_size)
        for name, order in orders.items():
            yield name, _take(order, batch_size)


def scan_lengths(
    dataset: Any,
    length: Length | None = None,
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
    unknown = ScannedLengths(scan=None)
    try:
        num_samples = len(dataset)
    except TypeError:  # it does not tell how far its indices go
        return unknown
    order = visit_in_random_order(num_samples, seed)
    begin, measure, lengths = clock(), "", dict[int, int]()
    sizes = _Sizes()
    for index in order:
        try:
            sample = dataset[index]
        except Exception:
            # It may be readable only where training reads it, such as in a loader's worker. If
            # it is not readable there either, the first trial says so.
            return unknown
        measure, lengths[index], others = _measure(sample, length)
        sizes.add(index, others)
        if clock() - begin > max_time_s:
            break
    values = list(lengths.values())
    scan = LengthScan(
        num_scanned=len(values),
        num_samples=num_samples,
        shortest=min(values),
        median=float(statistics.median(values)),
        longest=max(values),
        measure=measure,
        steps_down=_step_down(sorted(set(values))),
    )
    longest = _sort(list(lengths), values)
    largest = sizes.rank(longest if scan.differ else None)
    return ScannedLengths(
        scan=replace(scan, criteria=tuple(largest)),
        longest=longest,
        lengths=lengths,
        largest=largest,
    )


def fetch_samples(dataset: Any, indices: Sequence[int]) -> list[Any]:
    """Fetch samples of a map-style dataset, as a loader does.

    Args:
        dataset: The dataset.
        indices: Which samples.
    """
    if callable(getattr(dataset, "__getitems__", None)):
        return list(dataset.__getitems__(list(indices)))
    return [dataset[index] for index in indices]


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


def _name_of(length: Length) -> str:
    name = str(getattr(length, "__name__", ""))
    return name if name.isidentifier() else "length"


def _measure(sample: Any, length: Length | None) -> tuple[str, int, dict[str, int]]:
    """What the length of a sample counts, the length, and its sizes by other criteria."""
    if length is None:
        sizes = SampleSizes(sample)
        others = {**sizes.counts, **sizes.extents}
        tokens = _find_tokens(sample)  # not its mask and its labels, which are as long
        if tokens is None:
            return _ELEMENTS, sizes.total, others
        return _TOKENS, SampleSizes(tokens).total, others
    hint = "it is called with one sample of the dataset, and returns a number, or several"
    with calling_user_code("'length' failed on a sample", hint):
        value = length(sample)
        if isinstance(value, Mapping):
            numbers = {str(key): int(number) for key, number in value.items()}
        elif isinstance(value, (tuple, list)):
            numbers = {f"{_name_of(length)}()[{n}]": int(each) for n, each in enumerate(value)}
        else:
            return f"by {_name_of(length)}()", int(value), {}
        first = next(iter(numbers))
    return first, numbers.pop(first), numbers


class _Sizes:
    """The sizes of samples by criterion, in the order in which they were looked at."""

    def __init__(self) -> None:
        self._indices: list[int] = []
        self._columns: dict[str, list[int]] = {}

    def add(self, index: int, sizes: Mapping[str, int]) -> None:
        """Note a sample; what it lacks is 0."""
        for name, size in sizes.items():
            if name in self._columns or len(self._columns) < _MAX_PARTS:
                column = self._columns.setdefault(name, [])
                column += [0] * (len(self._indices) - len(column))
                column.append(size)
        self._indices.append(index)

    def rank(self, longest: tuple[int, ...] | None) -> dict[str, tuple[int, ...]]:
        """All indices, largest first, by each criterion in which samples differ, each order once.

        Args:
            longest: An order that is known already.
        """
        largest: dict[str, tuple[int, ...]] = {}
        for name, column in self._columns.items():
            column += [0] * (len(self._indices) - len(column))
            order = _sort(self._indices, column)
            is_new = order != longest and order not in largest.values()
            if is_new and min(column) < max(column) and len(largest) < _MAX_CRITERIA:
                largest[name] = order
        return largest


def _sort(indices: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    """Indices by size, largest first, each once."""
    order = numpy.lexsort((numpy.array(indices), -numpy.array(sizes)))
    return tuple(dict.fromkeys(numpy.array(indices)[order].tolist()))


def _take(indices: Sequence[int], count: int) -> list[int]:
    return [*itertools.islice(itertools.cycle(dict.fromkeys(indices)), count)]

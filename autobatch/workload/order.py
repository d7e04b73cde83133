"""In which order samples are visited, without a list of all where there are very many.

A ``RandomSampler`` lists all indices in random order before it gives the first: 48 bytes and a
fifth of a microsecond for each. With a hundred million samples that is 4.8 GB and a minute, in
every trial. Drawn with replacement they come one after the other, and of so many hardly any comes
twice.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import RandomSampler

from autobatch.devices.cpu import CpuDevice
from autobatch.errors import WorkloadError
from autobatch.units import format_bytes, format_count, format_seconds

#: A list of so many takes a second and 200 MB.
MANY_SAMPLES = 2**22
# The tensor of a permutation, and the list of Python numbers that is made of it.
_BYTES_PER_INDEX = 48
_TIMED_SAMPLES = 2**18


def draw_lazily(dataset: Any, num_samples: int | None) -> Any:
    """A sampler for a dataset with very many samples; ``None`` where shuffling costs little.

    Args:
        dataset: Map-style.
        num_samples: How many it has, ``None`` if unknown.
    """
    if num_samples is None or num_samples <= MANY_SAMPLES:
        return None
    return RandomSampler(dataset, replacement=True)


def visit_in_random_order(num_samples: int, seed: int) -> Iterator[int]:
    """Indices in random order, each once; of very many, endlessly and with few repeated.

    Args:
        num_samples: How many there are.
        seed: Of the order.
    """
    source = random.Random(seed)
    if num_samples > MANY_SAMPLES:
        while True:
            yield source.randrange(num_samples)
    order = list(range(num_samples))
    source.shuffle(order)
    yield from order


def describe_shuffle(sampler: Any) -> str:
    """What a user's own sampler costs before the first batch of each epoch; empty if little.

    Args:
        sampler: Of the user's loader; it is not changed.

    Raises:
        WorkloadError: If it takes more memory than there is.
    """
    if not isinstance(sampler, RandomSampler) or sampler.replacement:
        return ""
    num_samples = len(sampler.data_source)
    if num_samples <= MANY_SAMPLES:
        return ""
    num_bytes = _BYTES_PER_INDEX * num_samples
    available_bytes = min(bound.available_bytes for bound in CpuDevice().bounds(None))
    if num_bytes > available_bytes:
        raise WorkloadError(
            f"the sampler of 'train_loader' shuffles {format_count(num_samples)} samples, which "
            f"takes {format_bytes(num_bytes)} of memory, and {format_bytes(available_bytes)} are "
            "available",
            hint="draw them instead: sampler=RandomSampler(dataset, replacement=True)",
        )
    begin = time.perf_counter()
    torch.randperm(_TIMED_SAMPLES).tolist()
    time_s = (time.perf_counter() - begin) * num_samples / _TIMED_SAMPLES
    return (
        f"; its sampler shuffles for about {format_seconds(time_s)} and takes "
        f"{format_bytes(num_bytes)} before each epoch, and each trial"
    )

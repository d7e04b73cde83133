"""The batches that need most memory: the largest samples by each criterion.

A batch whose tensors are all at most as large as those of one that ran is left out, so that padded
batches of two criteria run once, and graphs, which lie one after the other, by nodes and by edges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.records.rehearsal import LARGEST
from autobatch.workload.batches import BatchSource
from autobatch.workload.tensors import find_tensors

#: Steps on each: the second has the gradients of the first beside it.
NUM_WORST_PASSES = 2


def make_worst_batches(source: BatchSource, batch_size: int) -> Iterator[tuple[str, Any]]:
    """Make the largest batches one by one.

    Training may never mix samples so: what cannot be collated, such as images of several sizes
    where a sampler keeps them apart, is left out.

    Args:
        source: Where batches come from.
        batch_size: Samples of a batch.

    Yields:
        What it is, in words, and the batch; ``None`` in its place if one before it covers it.
    """
    made: list[list[torch.Size]] = []
    for name, make in source.worst_batches(batch_size):
        try:
            batch = make()
        except Exception as error:
            if is_out_of_memory(error):
                raise
            continue
        shapes = [tensor.shape for tensor in find_tensors(batch)]
        if shapes and any(_cover(each, shapes) for each in made):
            batch = None
        else:
            made.append(shapes)
        yield f"{LARGEST}{name}", batch
        del batch


def make_worst_batch(source: BatchSource, batch_size: int) -> Any:
    """Make the first of them, which is padded most; ``None`` if all samples are alike.

    Args:
        source: Where batches come from.
        batch_size: Samples of the batch.
    """
    return next((batch for _, batch in make_worst_batches(source, batch_size)), None)


def _cover(larger: list[torch.Size], shapes: list[torch.Size]) -> bool:
    """Whether tensors are at least as large as others, one by one and in every dimension."""
    return len(larger) == len(shapes) and all(
        len(a) == len(b) and all(m >= n for m, n in zip(a, b, strict=True))
        for a, b in zip(larger, shapes, strict=True)
    )

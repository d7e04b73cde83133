"""What DDP adds to a trace: buckets, in which gradients are reduced while backward goes on.

Source: ``torch/nn/parallel/distributed.py``: 25 MiB each, made with the model, as large together
as the gradients, which stay beside them unless ``gradient_as_bucket_view`` is set.
"""

from __future__ import annotations

from dataclasses import replace

from autobatch.prediction.trace import Category, Storage, Trace

_BUCKET_BYTES = 25 * 2**20


def with_buckets(trace: Trace) -> Trace:
    """The trace of a process that trains together with others under DDP."""
    total_bytes = _most_gradient_bytes(trace)
    sizes = [min(_BUCKET_BYTES, total_bytes - at) for at in range(0, total_bytes, _BUCKET_BYTES)]
    buckets = tuple(
        Storage(num_bytes=size, category=Category.GRADIENT, module="", operator="DDP")
        for size in sizes
    )
    begin = next(mark.position for mark in trace.marks if mark.step == 1)
    first = len(trace.storages)
    return replace(
        trace,
        storages=(*trace.storages, *buckets),
        events=(
            *trace.events[:begin],
            *range(first, first + len(buckets)),
            *trace.events[begin:],
        ),
        marks=tuple(
            replace(mark, position=mark.position + len(buckets)) if mark.step else mark
            for mark in trace.marks
        ),
    )


def _most_gradient_bytes(trace: Trace) -> int:
    current = most = 0
    for event in trace.events:
        storage = trace.storages[event if event >= 0 else ~event]
        if storage.category is Category.GRADIENT:
            current += storage.num_bytes if event >= 0 else -storage.num_bytes
            most = max(most, current)
    return most

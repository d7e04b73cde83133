"""The memory of the last step of a trace, at moments of it."""

from __future__ import annotations

from autobatch.cards import Card
from autobatch.planning.records import Timeline
from autobatch.prediction.predict import trace_timeline
from autobatch.prediction.trace import Category, Trace

_MOST_MOMENTS = 400


def make_timeline(trace: Trace, card: Card) -> Timeline:
    """Bytes in use over the last step, by what they are for.

    Args:
        trace: The trace.
        card: For the sizes that a card decides.
    """
    last = max(mark.step for mark in trace.marks)
    begins = {mark.name: mark.position for mark in trace.marks if mark.step == last}
    begin = min(begins.values())
    moments = trace_timeline(trace, card)[begin:]
    totals = [sum(parts.values()) for _, parts in moments]
    # The highest moment of each stretch, so that no peak is lost.
    stretch = max(1, -(-len(moments) // _MOST_MOMENTS))
    kept = [
        max(range(at, min(at + stretch, len(moments))), key=totals.__getitem__)
        for at in range(0, len(moments), stretch)
    ]
    return Timeline(
        gpu=card.name,
        batch_size=trace.batch_size,
        positions=tuple(kept),
        parts_bytes={
            part.value: tuple(moments[at][1].get(part, 0) for at in kept)
            for part in Category
            if any(moments[at][1].get(part) for at in kept)
        },
        begins={name: position - begin for name, position in begins.items()},
    )

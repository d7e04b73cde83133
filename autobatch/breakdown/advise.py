"""Which change would lower the peak of a recorded step most. No PyTorch here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from autobatch.breakdown.timeline import Part, Storage, Timeline
from autobatch.records.breakdown import MemoryAdvice

# As 32-bit state in 8 bits.
_8_BIT_RATIO = 0.25
_NUM_CHUNKS = 8
_LEAST_FRACTION = 0.05


def advise(timeline: Timeline, blocks: Sequence[str], peak_bytes: int) -> MemoryAdvice | None:
    """Find the change that frees most.

    Args:
        timeline: The recorded step.
        blocks: Names of modules that repeat and could be checkpointed, each whole.
        peak_bytes: The measured peak.

    Returns:
        The advice; ``None`` if nothing frees a twentieth of the peak.
    """
    now_bytes = timeline.peak_bytes()
    options = [
        MemoryAdvice(what=what, saved_bytes=max(0, round(now_bytes - then_bytes)))
        for what, then_bytes in _find_options(timeline, blocks)
    ]
    best = max(options, key=lambda each: each.saved_bytes, default=None)
    if best is None or best.saved_bytes < _LEAST_FRACTION * peak_bytes:
        return None
    return best


def _find_options(timeline: Timeline, blocks: Sequence[str]) -> Iterator[tuple[str, float]]:
    def scaled(part: Part, ratio: float) -> float:
        return timeline.peak_bytes(
            lambda each: each.num_bytes * (ratio if each.part is part else 1)
        )

    if blocks:
        what = f"activation checkpointing of {_name(blocks)}"
        yield what, _checkpointed_bytes(timeline, blocks)
    yield "8-bit optimizer state", scaled(Part.OPTIMIZER, _8_BIT_RATIO)
    yield f"logits and loss in {_NUM_CHUNKS} chunks", scaled(Part.LOGITS, 1 / _NUM_CHUNKS)


def _checkpointed_bytes(timeline: Timeline, blocks: Sequence[str]) -> float:
    """The peak if blocks kept their outputs alone, and one at a time were computed again."""
    by_block: Counter[str] = Counter()
    for storage in timeline.at_peak():
        block = _find_block(storage, blocks)
        if block is not None:
            by_block[block] += storage.num_bytes

    def size(storage: Storage) -> float:
        return 0 if _find_block(storage, blocks) is not None else storage.num_bytes

    return timeline.peak_bytes(size) + max(by_block.values(), default=0)


def _find_block(storage: Storage, blocks: Sequence[str]) -> str | None:
    if storage.part is not Part.ACTIVATIONS or storage.is_block_output or storage.module is None:
        return None
    name = f"{storage.module}."
    return next((block for block in blocks if name.startswith(f"{block}.")), None)


def _name(blocks: Sequence[str]) -> str:
    return blocks[0] if len(blocks) == 1 else f"{blocks[0]} to {blocks[-1]}"

"""What ``PYTORCH_ALLOC_CONF`` says, as far as it decides where memory goes."""

from __future__ import annotations

from dataclasses import dataclass

from autobatch.prediction.allocator.sizes import MIN_BLOCK_BYTES, round_up

# Divisions are given for 16 powers of two, from 1 MiB on (``kRoundUpPowerOfTwoStart``); smaller
# and larger sizes have those of the first and the last.
_FIRST_INTERVAL = 20
_NUM_INTERVALS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocatorSettings:
    """The settings of an allocator; PyTorch's own defaults if left out.

    Attributes:
        expandable_segments: Whether segments grow in place.
        max_split_bytes: Blocks of this size and above are not split; ``None`` for no such size.
        garbage_collection_fraction: Part of the cap above which old cached segments are given
            back before a new one is asked for; 0 for never. Without a cap it does nothing.
        roundup_divisions: Parts of a power of two that sizes are rounded up to, for sizes of 1 to
            2 MiB, 2 to 4 MiB and so on, 16 in all; 0 for none. Empty for no rounding at all.
    """

    expandable_segments: bool = False
    max_split_bytes: int | None = None
    garbage_collection_fraction: float = 0.0
    roundup_divisions: tuple[int, ...] = ()

    def round_size(self, num_bytes: int) -> int:
        """Size of the block that a request asks for (``round_size``)."""
        divisions = self._divisions_of(num_bytes)
        if divisions > 1 and num_bytes > MIN_BLOCK_BYTES * divisions:
            floor = 1 << (num_bytes.bit_length() - 1)
            step = floor >> (divisions.bit_length() - 1)
            return round_up(num_bytes, step)
        return max(MIN_BLOCK_BYTES, round_up(num_bytes, MIN_BLOCK_BYTES))

    def is_oversize(self, size: int) -> bool:
        """Whether a block of this size is not split."""
        return self.max_split_bytes is not None and size >= self.max_split_bytes

    def _divisions_of(self, num_bytes: int) -> int:
        if not self.roundup_divisions or num_bytes < MIN_BLOCK_BYTES:
            return 0
        interval = num_bytes.bit_length() - 1 - _FIRST_INTERVAL
        return self.roundup_divisions[max(0, min(interval, _NUM_INTERVALS - 1))]

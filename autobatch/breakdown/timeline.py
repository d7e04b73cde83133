"""A recorded step: storages that come and go, and their sum at every moment. No PyTorch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum


class Part(Enum):
    """What a storage is; the values are fields of ``MemoryBreakdown``."""

    WEIGHTS = "weights_bytes"
    GRADIENTS = "gradients_bytes"
    OPTIMIZER = "optimizer_bytes"
    ACTIVATIONS = "activations_bytes"
    LOGITS = "logits_bytes"
    TEMPORARIES = "temporaries_bytes"
    BATCH = "batch_bytes"
    OTHER = "other_bytes"


@dataclass(slots=True, eq=False)
class Storage:
    """One storage.

    Attributes:
        num_bytes: Its size.
        part: What it is; may be learned after it was made.
        module: Name of the module that made it; ``None`` if none did.
        is_block_output: Whether a block that could be checkpointed hands it on.
    """

    num_bytes: int
    part: Part
    module: str | None = None
    is_block_output: bool = False


@dataclass(slots=True)
class Timeline:
    """Storages in the order in which they came and went.

    Attributes:
        events: Each storage with whether it came.
    """

    events: list[tuple[Storage, bool]] = field(default_factory=list)

    def came(self, storage: Storage) -> None:
        """Note a storage that was made."""
        self.events.append((storage, True))

    def went(self, storage: Storage) -> None:
        """Note a storage that was freed."""
        self.events.append((storage, False))

    def peak_bytes(self, size_of: Callable[[Storage], float] | None = None) -> float:
        """The highest sum of sizes.

        Args:
            size_of: The size that a storage would have; what it had if left out.
        """
        size_of = size_of or (lambda storage: storage.num_bytes)
        held = highest = 0.0
        for storage, has_come in self.events:
            held += size_of(storage) if has_come else -size_of(storage)
            highest = max(highest, held)
        return highest

    def at_peak(self) -> list[Storage]:
        """The storages that were there at the highest sum."""
        held, highest, count = 0, 0, 0
        for number, (storage, has_come) in enumerate(self.events, start=1):
            held += storage.num_bytes if has_come else -storage.num_bytes
            if held > highest:
                highest, count = held, number
        return self.after(count)

    def after(self, num_events: int) -> list[Storage]:
        """The storages that were there after so many events."""
        there: dict[Storage, None] = {}
        for storage, has_come in self.events[:num_events]:
            if has_come:
                there[storage] = None
            else:
                there.pop(storage, None)
        return list(there)

    def left(self) -> list[Storage]:
        """The storages that are still there at the end."""
        return self.after(len(self.events))

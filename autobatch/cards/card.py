"""One kind of GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BRANDS = re.compile(r"nvidia|geforce|tesla|[^a-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU, as far as it decides what fits.

    Attributes:
        name: As in the table, or as the user named it.
        compute_capability: Such as (8, 9).
        memory_bytes: What PyTorch sees of its memory.
        num_sms: Its multiprocessors.
        bandwidth_bytes_per_s: Of its memory; ``None`` if unknown.
        boost_hz: Clock that it reaches; ``None`` if unknown.
        memory_source: Where ``memory_bytes`` is from.
    """

    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    num_sms: int
    bandwidth_bytes_per_s: float | None
    boost_hz: float | None
    memory_source: str


def plain_name(name: str) -> str:
    """A card's name without its brand and in one spelling: ``rtx4090``."""
    return _BRANDS.sub("", name.lower())

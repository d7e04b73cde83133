"""What a GPU could multiply at the most."""

from __future__ import annotations

from enum import Enum

from autobatch.cards.card import Card


class Units(Enum):
    """What of a GPU multiplies."""

    HALF = "half"
    TF32 = "tf32"
    SINGLE = "single"


# Multiplications and additions of half precision that the tensor cores of a multiprocessor do in a
# clock, dense and summed in float32: NVIDIA's papers on each architecture.
_HALF_FLOPS_PER_CLOCK = {
    (7, 0): 1024, (7, 5): 1024, (8, 0): 2048, (8, 6): 512, (8, 9): 512, (9, 0): 4096,
    (10, 0): 8192, (12, 0): 512,
}  # fmt: skip
_FP32_CORES = {(6, 0): 64, (7, 0): 64, (7, 5): 64, (8, 0): 64}
_USUAL_FP32_CORES = 128
_FIRST_WITH_TF32 = (8, 0)


def peaks_of(card: Card) -> dict[Units, float] | None:
    """Multiplications and additions in a second; ``None`` if the card's clock is not known.

    TF32 on a card without it is done in single precision.

    Args:
        card: The card.
    """
    if card.boost_hz is None:
        return None
    capability = card.compute_capability
    single = 2 * _FP32_CORES.get(capability, _USUAL_FP32_CORES)
    half = _HALF_FLOPS_PER_CLOCK.get(capability, 2 * single)
    tf32 = half / 2 if capability >= _FIRST_WITH_TF32 else single
    clocks_per_s = card.num_sms * card.boost_hz
    return {
        Units.HALF: half * clocks_per_s,
        Units.TF32: tf32 * clocks_per_s,
        Units.SINGLE: single * clocks_per_s,
    }

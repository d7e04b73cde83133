"""The cards to plan for, and what a training holds on them besides tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from autobatch.cards import (
    USUAL_OUTSIDE,
    Card,
    Outside,
    find_card,
    list_cards,
    read_unlisted,
)
from autobatch.cards.card import plain_name
from autobatch.errors import SettingsError
from autobatch.planning.records import USUAL_CARDS, PlanSettings
from autobatch.records import Finding

_MIB = 2**20
#: What NCCL holds for a ring of eight: 150 MiB over PCIe, up to 1,350 where NVLink has channels.
_NCCL = Outside(low_bytes=150 * _MIB, high_bytes=1350 * _MIB, source="NCCL")


def choose_cards(asked: PlanSettings, finding: Finding | None = None) -> list[Card]:
    """The cards that were asked for, each once.

    Args:
        asked: Names and sizes.
        finding: Of a probe on one of them, whose memory it tells.

    Raises:
        SettingsError: If one is not known.
    """
    names = asked.gpus or (() if asked.gpu_memory or finding else USUAL_CARDS)
    cards = list_cards() if names == ("all",) else [find_card(name) for name in names]
    cards += [read_unlisted(text) for text in asked.gpu_memory or ()]
    if finding is not None:
        measured = card_of(finding)
        cards = [measured if card.name == measured.name else card for card in cards or [measured]]
        if measured not in cards:
            raise SettingsError(
                f"`calibration={asked.calibration}` is of {measured.name}, which is not among the "
                "GPUs",
                hint=f"add it: `gpu={','.join([*(card.name for card in cards), measured.name])}`",
            )
    return [*{card.name: card for card in cards}.values()]


def read_prices(asked: PlanSettings, cards: Sequence[Card]) -> dict[str, float]:
    """Prices by the names that the cards have.

    Args:
        asked: Prices by the names that the user gave.
        cards: The cards to plan for.

    Raises:
        SettingsError: If one is of another card.
    """
    by_plain_name = {plain_name(card.name): card.name for card in cards}
    prices = {}
    for given, price in asked.prices.items():
        name = by_plain_name.get(plain_name(given)) or find_card(given).name
        if name not in by_plain_name.values():
            raise SettingsError(
                f"`price={given}={price:g}` is of a GPU that is not planned for",
                hint=f"add it: `gpu={','.join([*(card.name for card in cards), name])}`",
            )
        prices[name] = price
    return prices


def outside_of(
    card: Card, asked: PlanSettings, finding: Finding | None, num_devices: int
) -> Outside:
    """What a training holds on a card besides the allocator's segments.

    Args:
        card: The card.
        asked: For the name of the file that was given.
        finding: Of a probe on one of the cards.
        num_devices: Devices that train together.

    Raises:
        SettingsError: If the finding does not tell.
    """
    found = USUAL_OUTSIDE
    if finding is not None and card_of(finding).name == card.name:
        found = _measured_outside(asked, finding)
    if num_devices == 1:
        return found
    return Outside(
        low_bytes=found.low_bytes + _NCCL.low_bytes,
        high_bytes=found.high_bytes + _NCCL.high_bytes,
        source=f"{found.source}, with NCCL",
    )


def card_of(finding: Finding) -> Card:
    """The card that a probe ran on, with the memory that it saw."""
    card = find_card(finding.environment.device_name)
    return replace(card, memory_bytes=finding.budget.capacity_bytes, memory_source="calibration")


def _measured_outside(asked: PlanSettings, finding: Finding) -> Outside:
    held = [
        trial.peak_bytes - trial.peak_reserved_bytes
        for trial in finding.trials
        if trial.fits and trial.peak_bytes is not None and trial.peak_reserved_bytes is not None
    ]
    if not held:
        raise SettingsError(
            f"`calibration={asked.calibration}` does not tell what the GPU holds besides tensors",
            hint="save a finding of a probe on the GPU, with autobatch probe TARGET -o FILE",
        )
    return Outside(
        low_bytes=min(held), high_bytes=max(held), source=f"as measured in {asked.calibration}"
    )

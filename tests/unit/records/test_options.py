"""Each option is written once: what it takes, what it refuses, and the words for it."""

from __future__ import annotations

from typing import Any

import pytest

from autobatch.check.records import CheckSettings, HardwareLimits, TargetLimits
from autobatch.compare.records import CompareSettings
from autobatch.errors import SettingsError
from autobatch.records import Goal, Settings
from autobatch.records.kinds import BANDWIDTH, BYTES
from autobatch.records.options import Option, options_of, read_keywords

GIB = 2**30
RECORDS = [Settings, CompareSettings, CheckSettings, TargetLimits, HardwareLimits]


def read(**keywords: Any) -> dict[str, Any]:
    return read_keywords(Settings, keywords, caller="find_batch_size")


@pytest.mark.parametrize("record", RECORDS)
def test_every_field_of_settings_is_an_option_with_help(record: type) -> None:
    said = options_of(record)
    # The records that these of a check hold have options of their own.
    made_of = {"training", "limits", "hardware", "ranks", "keeps_baseline"}
    names = list(record.__dataclass_fields__)  # type: ignore[attr-defined]
    assert [each.field for each in said.values()] == [n for n in names if n not in made_of]
    for each in said.values():
        assert each.help.endswith(".")
        assert each.help[0].isupper()
        assert each.group


@pytest.mark.parametrize("record", RECORDS)
def test_a_default_is_read_back_from_its_own_text(record: type) -> None:
    defaults = record()
    for each in options_of(record).values():
        if each.default_text:
            assert each.kind.read(each.name, each.default_text) == getattr(defaults, each.field)


@pytest.mark.parametrize(
    ("keywords", "values"),
    [
        ({"memory_limit": "8GiB"}, {"memory_limit_bytes": 8 * GIB}),
        ({"memory_limit": GIB}, {"memory_limit_bytes": GIB}),
        ({"headroom": "20%"}, {"headroom_fraction": 0.2}),
        ({"goal": "memory"}, {"goal": Goal.MEMORY}),
        ({"grid": "multiple:8"}, {"grid_multiple": 8}),
        ({"grid": "powers"}, {"grid_multiple": None}),
        ({"eval": True, "lr": 1}, {"evaluation": True, "learning_rate": 1.0}),
        ({"time_limit": "5min"}, {"time_limit_s": 300.0}),
        ({"time_limit": None}, {"time_limit_s": None}),
        ({"time_limit": "none"}, {"time_limit_s": None}),
        ({"headroom": None, "max_batch_size": None}, {}),
    ],
)
def test_a_keyword_is_read_as_the_command_line_reads_it(
    keywords: dict[str, Any], values: dict[str, Any]
) -> None:
    assert read(**keywords) == values
    Settings(**values)


def test_a_search_ends_after_two_minutes_unless_told_otherwise() -> None:
    assert Settings().time_limit_s == 120.0
    assert CheckSettings().time_limit_s == 90.0


@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("max_batch_size", 0, "`max_batch_size` must be a whole number above 0, got 0"),
        ("max_batch_size", 2.5, "`max_batch_size` must be a whole number above 0, got 2.5"),
        ("num_devices", True, "`num_devices` must be a whole number above 0, got True"),
        (
            "memory_limit",
            "lots",
            "`memory_limit` must be a memory size with its unit, got 'lots'",
        ),
        ("headroom", 1.0, "`headroom` must be at least 0 % and below 100 %, got 1.0"),
        ("lr", float("nan"), "`lr` must be a number above 0, got nan"),
        ("lr", [], "`lr` must be a number above 0, got []"),
        ("time_limit", 0, "`time_limit` must be a time above 0, or none, got 0"),
        ("grid", "multiple:0", "`grid` must be 'powers' or 'multiple:N', got 'multiple:0'"),
        ("drop_last", 1, "`drop_last` must be True or False, got 1"),
        ("lr_rule", "cubic", "`lr_rule` must be one of 'auto', 'linear', 'sqrt', 'none', got 'c"),
    ],
)
def test_a_value_that_cannot_be_used_is_repeated(keyword: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{keyword: value})
    assert message in str(caught.value)
    assert caught.value.hint
    with pytest.raises(SettingsError) as again:  # whoever makes the record by hand
        Settings(**{options_of(Settings)[keyword].field: value})
    assert str(again.value) == str(caught.value)


SIZES = [each for record in RECORDS for each in options_of(record).values() if each.kind is BYTES]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: size.name)
def test_a_size_without_a_unit_is_refused_and_a_number_of_bytes_is_taken(size: Option) -> None:
    with pytest.raises(SettingsError, match=f"`{size.name}` .* with its unit, got '8'") as caught:
        size.kind.read(size.name, "8")
    assert caught.value.hint == "did you mean 8GiB?"
    assert size.kind.read(size.name, 8 * GIB) == 8 * GIB


@pytest.mark.parametrize("name", ["max_batchsize", "env"])
def test_a_keyword_that_is_no_option_is_a_type_error(name: str) -> None:
    with pytest.raises(TypeError, match=rf"find_batch_size\(\) has no option '{name}'"):
        read(**{name: 8})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"min_batch_size": 9, "max_batch_size": 8},
            "`max_batch_size` must be at least `min_batch_size=9`, got 8",
        ),
        (
            {"global_batch_size": 7, "num_devices": 2},
            "`global_batch_size=7` cannot be shared equally by `num_devices=2`",
        ),
    ],
)
def test_values_that_do_not_go_together_are_named(values: dict[str, int], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**values)  # type: ignore[arg-type]
    assert str(caught.value) == message


def test_a_bandwidth_has_its_unit_of_time() -> None:
    assert BANDWIDTH.read("all_reduce_min", "10GiB/s") == 10 * GIB
    assert BANDWIDTH.read("all_reduce_min", "100 MB / s") == 100_000_000
    assert BANDWIDTH.read("all_reduce_min", 5) == 5
    for text, hint in (("10GiB", "did you mean 10GiB/s?"), ("10/s", "use one such as 10GiB/s")):
        with pytest.raises(SettingsError, match="must be a bandwidth with its unit") as caught:
            BANDWIDTH.read("all_reduce_min", text)
        assert caught.value.hint == hint

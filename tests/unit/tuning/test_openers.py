"""A command with the values of levers, and the settings of a search with levers on."""

from __future__ import annotations

import pytest
import torch

from autobatch.command.settings import CommandSettings
from autobatch.errors import SettingsError
from autobatch.records import Precision, Settings
from autobatch.tuning.asked import TuneSettings
from autobatch.tuning.probers import CommandOpener, ObjectsOpener, settings_with
from autobatch.workload.live import describe_objects


def opener(command: str, **levers: tuple[str, ...]) -> CommandOpener:
    return CommandOpener(tuple(command.split()), Settings(), CommandSettings(), levers)


def test_a_placeholder_takes_the_value_of_its_lever_and_else_that_of_the_start() -> None:
    made = opener(
        "python train.py -b {batch_size=8} -j={num_workers=2} {compile}",
        num_workers=("0", "2", "4"),
        compile=("--compile --fast", ""),
    )
    assert made.placeholders == {"num_workers": ("0", "4"), "compile": ("--compile --fast",)}
    assert made.fill({}) == ("python", "train.py", "-b", "{batch_size=8}", "-j=2")
    assert made.fill({"num_workers": "4", "compile": "--compile --fast"}) == (
        *("python", "train.py", "-b", "{batch_size=8}", "-j=4"),
        *("--compile", "--fast"),
    )


def test_without_a_value_of_its_own_or_an_empty_one_the_start_has_the_first() -> None:
    made = opener("python train.py {batch_size} {workers}", workers=("1", "2"))
    assert made.fill({})[-1] == "1"
    assert made.placeholders == {"workers": ("2",)}


def test_a_lever_without_a_placeholder_is_refused() -> None:
    with pytest.raises(SettingsError, match="no place in the command") as refused:
        opener("python train.py {batch_size}", workers=("1", "2"))
    assert refused.value.hint == "write {workers} where the command takes it"


@pytest.mark.parametrize("text", ["workers", "workers=1", "batch_size=1,2", "a-b=1,2", "=1,2"])
def test_what_is_no_lever_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(SettingsError, match="`lever` must be NAME=VALUE,VALUE") as refused:
        TuneSettings(placeholders=text)  # type: ignore[arg-type]
    assert text in str(refused.value)


def test_a_value_named_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match="names a value twice"):
        TuneSettings(placeholders={"workers": ("1", "1")})


def test_a_search_with_levers_on_has_their_variables_and_arithmetic() -> None:
    settings = Settings(variables={"MINE": "1"})
    tuned = settings_with(settings, {"allocator": "keep", "precision": "bf16", "threads": "1"})
    assert tuned.precision is Precision.BF16
    assert tuned.variables["MINE"] == "1"
    assert tuned.variables["MALLOC_TRIM_THRESHOLD_"] == "4294967296"
    assert "OMP_NUM_THREADS" not in tuned.variables
    assert settings_with(settings, {}) == settings


def test_an_isolation_that_there_is_not_is_an_error() -> None:
    workload = describe_objects(torch.nn.Linear(2, 1), torch.zeros(2))
    made = ObjectsOpener(workload, Settings(device="cpu"), "net", isolation="bogus")
    with (
        pytest.raises(SettingsError, match=r"isolation must be one of .*got 'bogus'"),
        made.open({}, {}),
    ):
        pass

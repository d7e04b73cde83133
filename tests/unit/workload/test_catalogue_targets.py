"""Which options go with which target, and what is said where a library is missing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autobatch.errors import AutobatchError, SettingsError, WorkloadError
from autobatch.records import Settings
from autobatch.workload.catalogues.require import LIBRARIES, require_usable
from autobatch.workload.files import CATALOGUES, parse_target

ROOT = Path(__file__).resolve().parents[3]


def _refusal(text: str, **settings: Any) -> AutobatchError:
    with pytest.raises(AutobatchError) as caught:
        require_usable(parse_target(text), Settings(**settings))
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("text", "catalogue", "name"),
    [
        ("hf:gpt2", "hf", "gpt2"),
        ("hf:bert:sequence-classification", "hf", "bert:sequence-classification"),
        ("timm:resnet50.a1_in1k", "timm", "resnet50.a1_in1k"),
        ("torchvision:resnet50", "torchvision", "resnet50"),
        ("hf:", "hf", ""),
    ],
)
def test_a_catalogue_comes_before_the_first_colon(text: str, catalogue: str, name: str) -> None:
    target = parse_target(text)
    assert (target.text, target.catalogue, target.name) == (text, catalogue, name)
    assert not target.is_file


@pytest.mark.parametrize("text", ["hf", "hf.py", "hf.py:gpt2", "torchvision.models:resnet18"])
def test_what_only_looks_like_a_catalogue_is_none(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hf.py").write_text("")
    monkeypatch.chdir(tmp_path)
    assert parse_target(text).catalogue == ""


@pytest.mark.parametrize("catalogue", CATALOGUES)
def test_a_missing_library_is_named_as_the_extra_to_install(
    catalogue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = LIBRARIES[catalogue]
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed
    error = _refusal(f"{catalogue}:resnet50")
    assert isinstance(error, WorkloadError)
    assert f"needs {library}, which is not installed" in str(error)
    assert error.hint == f"pip install 'torch-autobatch[{library}]'"


def test_every_catalogue_has_its_extra() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for library in LIBRARIES.values():
        assert f'{library} = ["{library}>=' in project


def test_what_is_set_is_for_catalogues_alone(write: Callable[..., str]) -> None:
    path = write("")
    error = _refusal(path, overrides={"n_layer": "6"})
    assert isinstance(error, SettingsError)
    assert "--set n_layer=6" in str(error)
    assert "is a file" in str(error)
    assert "--sequence-length 64" in str(_refusal(path, sequence_length=64))
    assert "is a module" in str(_refusal("package.module", sequence_length=64))


def test_options_that_a_catalogue_has_no_use_for_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())  # all are installed
    assert "--input 3x32x32" in str(_refusal("hf:gpt2", input_shape=(3, 32, 32)))
    for catalogue in ("timm", "torchvision"):
        text = f"{catalogue}:resnet50"
        assert "takes images" in str(_refusal(text, sequence_length=64))
        assert "--input 512" in str(_refusal(text, input_shape=(512,)))
        error = _refusal(text, input_shape=(3, 32, 32), vocabulary_size=9)
        assert "--vocabulary 9" in str(error)


@pytest.mark.parametrize("length", [0, -1])
def test_a_sequence_has_a_length(length: int) -> None:
    with pytest.raises(SettingsError, match=f"--sequence-length {length} is not above 0"):
        Settings(sequence_length=length)

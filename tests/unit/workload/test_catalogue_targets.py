"""What may follow which target, and what is said where a library is missing."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from autobatch.errors import AutobatchError, SettingsError, WorkloadError
from autobatch.workload.catalogues import require
from autobatch.workload.catalogues.require import LIBRARIES, require_usable
from autobatch.workload.files import CATALOGUES, parse_target

ROOT = Path(__file__).resolve().parents[3]


def _refusal(text: str) -> AutobatchError:
    with pytest.raises(AutobatchError) as caught:
        require_usable(parse_target(text))
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
    pin = f"torch=={torch.__version__}"  # with its build, such as +cpu
    assert error.hint == f"pip install '{pin}' 'torch-autobatch[{library}]'"
    assert shlex.split(error.hint)[2:] == [pin, f"torch-autobatch[{library}]"]


@pytest.mark.parametrize("build", ["2.13.0+cpu", "2.9.1+cu130", "2.6.0", "2.15.0.dev1+rocm7"])
def test_the_command_pins_the_build_that_is_installed(
    monkeypatch: pytest.MonkeyPatch, build: str
) -> None:
    monkeypatch.setattr(require, "version", {"torch": build}.__getitem__)
    monkeypatch.setitem(sys.modules, "timm", None)
    assert _refusal("timm:resnet50").hint.startswith(f"pip install 'torch=={build}' ")


def test_a_pytorch_that_pip_does_not_know_is_not_touched(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(require, "version", unknown)
    monkeypatch.setitem(sys.modules, "timm", None)
    assert _refusal("timm:resnet50").hint == "pip install --no-deps timm"


def test_every_catalogue_has_its_extra() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for library in LIBRARIES.values():
        assert f'{library} = ["{library}>=' in project


def test_the_shape_of_a_sample_can_follow_the_target(write: Callable[..., str]) -> None:
    path = write("net = 1")
    target = parse_target(f"{path}:net,input=3x224x224,classes=1000")
    assert (target.location, target.name) == (path, "net")
    assert (target.shape.input, target.shape.classes) == ((3, 224, 224), 1000)
    tokens = parse_target(f"{path},input=512,vocabulary=50257").shape
    assert (tokens.input, tokens.vocabulary, tokens.classes) == ((512,), 50257, None)


def test_whatever_else_follows_a_catalogue_s_model_is_a_key_of_its_configuration() -> None:
    target = parse_target("hf:bert:masked-lm,n_layer=6,sequence_length=256,layers=[1,2],act=a=b")
    assert target.name == "bert:masked-lm"
    assert target.shape.sequence_length == 256
    assert target.shape.overrides == {"n_layer": "6", "layers": "[1,2]", "act": "a=b"}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("n_layer=6", "n_layer=6 is for models of a catalogue"),
        ("input=8,sequence_length=64", "sequence_length=64 is for models of a catalogue"),
        ("classes=10", "classes=10 needs the shape of a sample"),
        ("input=3xx4", "`input` must be the shape of one sample, got '3xx4'"),
        ("input=3x0", "got '3x0'"),
        ("input=8,classes=0", "`classes` must be a whole number above 0, got '0'"),
    ],
)
def test_what_a_file_has_no_use_for_is_refused(
    values: str, words: str, write: Callable[..., str]
) -> None:
    error = _refusal(f"{write('')},{values}")
    assert isinstance(error, SettingsError)
    assert words in str(error)


def test_what_a_catalogue_has_no_use_for_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())  # all are installed
    assert "'hf:gpt2,input=3x32x32'" in str(_refusal("hf:gpt2,input=3x32x32"))
    for catalogue in ("timm", "torchvision"):
        text = f"{catalogue}:resnet50"
        for values in ("sequence_length=64", "input=512", "input=3x32x32,vocabulary=9"):
            error = _refusal(f"{text},{values}")
            assert f"'{text},{values}'" in str(error)
            assert "takes images" in str(error)


@pytest.mark.parametrize("length", [0, -1])
def test_a_sequence_has_a_length(length: int) -> None:
    error = _refusal(f"hf:gpt2,sequence_length={length}")
    assert str(error) == f"`sequence_length` must be a whole number above 0, got '{length}'"

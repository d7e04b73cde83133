"""Weights from a file: those of the model, or a clear word on what differs."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autobatch.errors import WorkloadError
from autobatch.workload.checkpoint import load_checkpoint


def make() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def save(tmp_path: Path, value: Any) -> str:
    path = tmp_path / "weights.pt"
    torch.save(value, path)
    return str(path)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "loss": 0.5},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {f"module._orig_mod.{name}": value for name, value in state.items()},
    ],
    ids=["bare", "Lightning", "torch tutorial", "nested and DDP", "DDP and compiled"],
)
def test_the_usual_forms_are_loaded(tmp_path: Path, wrap: Any) -> None:
    trained, fresh = make(), make()
    load_checkpoint(fresh, save(tmp_path, wrap(trained.state_dict())))
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name])


def test_a_model_whose_own_names_begin_like_a_prefix_is_loaded(tmp_path: Path) -> None:
    trained, fresh = nn.ModuleDict({"model": make()}), nn.ModuleDict({"model": make()})
    load_checkpoint(fresh, save(tmp_path, trained.state_dict()))
    assert torch.equal(fresh["model"][0].weight, trained["model"][0].weight)  # type: ignore[index]


def test_a_mismatch_names_the_keys_and_changes_nothing(tmp_path: Path) -> None:
    state = make().state_dict()
    del state["0.bias"]
    state["2.weight"] = torch.zeros(5, 3)
    state["head.weight"] = torch.zeros(1)
    model = make()
    before = model[0].weight.clone()  # type: ignore[index]
    with pytest.raises(WorkloadError) as raised:
        load_checkpoint(model, save(tmp_path, state))
    message = str(raised.value)
    assert "it lacks 0.bias" in message
    assert "the model has no head.weight" in message
    assert "2.weight (5x3 in the file, 2x3 in the model)" in message
    assert torch.equal(model[0].weight, before)  # type: ignore[index]


def test_many_wrong_names_are_counted(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="and 5 more"):
        load_checkpoint(make(), save(tmp_path, {"x": torch.zeros(1)}))


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("should-not-exist"),))


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="more than weights"):
        load_checkpoint(make(), save(tmp_path, {"state_dict": Evil()}))
    assert not Path("should-not-exist").exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"PK\x03\x04 half a zip", pickle.dumps(1)[:3], b"\x80\x02}q\x00."]
)
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(WorkloadError, match=r"weights\.pt"):
        load_checkpoint(make(), str(path))


@pytest.mark.parametrize("value", [{"epoch": 3}, {}, [1, 2], torch.zeros(3), "text"])
def test_a_checkpoint_without_weights_is_named(tmp_path: Path, value: Any) -> None:
    with pytest.raises(WorkloadError, match="holds no weights"):
        load_checkpoint(make(), save(tmp_path, value))


def test_a_path_that_is_not_there_or_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(WorkloadError, match="no such file"):
        load_checkpoint(make(), str(tmp_path / "none.pt"))
    with pytest.raises(WorkloadError, match="is a directory"):
        load_checkpoint(make(), str(tmp_path))
    with pytest.raises(WorkloadError, match="safetensors"):
        load_checkpoint(make(), "weights.safetensors")

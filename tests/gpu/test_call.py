"""The call leaves no trace on a GPU either: its random numbers, its memory, what is on it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from snapshots import Objects, differences, take_snapshot
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from autobatch import find_batch_size

pytestmark = pytest.mark.gpu

LOSS = nn.CrossEntropyLoss()
MIB = 2**20


@pytest.fixture
def scene(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """A network on the GPU that has trained for a step."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Linear(64, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 3)
    ).to("cuda")
    optimizer = torch.optim.AdamW(model.parameters())
    data = TensorDataset(torch.randn(256, 64), torch.arange(256) % 3)
    made = Objects(model=model, optimizer=optimizer, loader=DataLoader(data, 8, shuffle=True))
    train(made)
    find(made)  # the first one starts what stays, such as the libraries' handles
    return made


def train(scene: Objects) -> None:
    inputs, targets = next(iter(scene.loader))
    scene.optimizer.zero_grad()
    LOSS(scene.model(inputs.to("cuda")), targets.to("cuda")).backward()
    scene.optimizer.step()


def find(scene: Objects, **options: Any) -> Any:
    options = {"max_batch_size": 16, "eval": True, **options}
    return find_batch_size(scene.model, scene.loader, LOSS, scene.optimizer, **options)


def test_nothing_has_changed_after_a_call_on_the_gpu(scene: Objects) -> None:
    before = take_snapshot(scene)
    finding = find(scene)
    after = take_snapshot(scene)
    assert finding.device.startswith("cuda")
    assert finding.environment.isolation == "shared"
    # Workspaces of libraries may have been given back.
    assert after.pop("device memory") <= before.pop("device memory")
    assert differences(before, after) == []


def test_training_goes_on_bitwise_as_without_the_call_on_the_gpu(scene: Objects) -> None:
    weights = []
    state = {name: value.clone() for name, value in scene.model.state_dict().items()}
    optimizer_state = copy.deepcopy(scene.optimizer.state_dict())
    for with_call in (False, True):
        scene.model.load_state_dict(state)
        scene.optimizer.load_state_dict(copy.deepcopy(optimizer_state))
        torch.manual_seed(5)
        train(scene)
        if with_call:
            find(scene)
        train(scene)
        weights.append([value.clone() for value in scene.model.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize("aspect", ["rng of cuda", "device memory"])
def test_the_comparison_sees_what_only_a_gpu_has(scene: Objects, aspect: str) -> None:
    before = take_snapshot(scene)
    held = torch.rand(MIB, device="cuda") if aspect == "rng of cuda" else None
    if aspect == "device memory":
        held = torch.empty(MIB, device="cuda")
    assert aspect in differences(before, take_snapshot(scene))
    del held

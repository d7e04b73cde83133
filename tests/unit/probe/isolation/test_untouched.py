"""Objects that are worked on and are as before at the end."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import torch
from torch import nn

from autobatch.errors import DeviceError
from autobatch.probe.isolation import untouched
from autobatch.probe.isolation.saved_state import SavedState
from autobatch.probe.isolation.untouched import Untouched
from autobatch.records import Settings
from autobatch.workload.contract import Workload

SETTINGS = Settings(device="cpu")


@pytest.fixture
def model() -> nn.Linear:
    return nn.Linear(1024, 1024, bias=False)


def spoil(model: nn.Module, error: Exception | None = None) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    if error is not None:
        raise error


def test_the_objects_are_copied_once_however_much_work_is_done(
    model: nn.Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[int] = []

    class Counted(SavedState):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            copies.append(self.held_bytes)

    monkeypatch.setattr(untouched, "SavedState", Counted)
    with Untouched(Workload(model=model), SETTINGS) as held:
        for _ in range(5):
            with held.piece() as piece:
                piece.has_spoiled = False
    assert copies == [2**22]


def test_large_tensors_come_back_after_work_that_spoiled_them_and_in_the_end(
    model: nn.Linear,
) -> None:
    before = model.weight.detach().clone()
    with Untouched(Workload(model=model), SETTINGS) as held:
        with held.piece():
            spoil(model)
        assert torch.equal(model.weight, before)
        with held.piece() as piece:
            piece.has_spoiled = False
            model.weight.data.add_(1)
        assert not torch.equal(model.weight, before)
    assert torch.equal(model.weight, before)


def test_work_that_raises_has_spoiled_them(model: nn.Linear) -> None:
    before = model.weight.detach().clone()
    with Untouched(Workload(model=model), SETTINGS) as held:
        with pytest.raises(KeyError), held.piece():
            spoil(model, KeyError())
        assert torch.equal(model.weight, before)


def test_more_than_the_machine_has_left_is_not_copied(
    model: nn.Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(untouched, "_find_room_bytes", lambda headroom: 2**21)
    before = gc.get_freeze_count()
    with pytest.raises(DeviceError, match="a copy"), Untouched(Workload(model=model), SETTINGS):
        pass
    assert gc.get_freeze_count() == before


def test_the_callers_objects_are_out_of_garbage_collections_meanwhile_alone(
    model: nn.Linear,
) -> None:
    before = gc.get_freeze_count()
    with Untouched(Workload(model=model), SETTINGS):
        assert gc.get_freeze_count() > 100_000
    assert gc.get_freeze_count() == before

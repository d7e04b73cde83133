"""Kinds of tensors and containers that are put back as they were."""

from __future__ import annotations

import weakref
from collections import OrderedDict, defaultdict, deque
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from autobatch.errors import DeviceError
from autobatch.probe.isolation.saved_state import SavedState


def test_containers_are_the_same_objects_with_the_same_contents() -> None:
    module = nn.Module()
    kept = [1, {"a": deque([2, 3], maxlen=2)}, {4}, OrderedDict(b=5), defaultdict(list)]
    module.kept = kept
    before = str(kept)
    state = SavedState([module], [])
    kept[1]["a"].append(9)  # type: ignore[index]
    kept[2].add(8)  # type: ignore[union-attr]
    kept[4]["new"].append(1)  # type: ignore[index]
    kept.append(7)
    module.kept = []
    state.restore()
    assert module.kept is kept
    assert str(kept) == before


def test_a_sparse_gradient_is_the_same_object_again() -> None:
    model = nn.Embedding(4, 2, sparse=True)
    model(torch.tensor([1])).sum().backward()
    gradient, values = model.weight.grad, model.weight.grad.to_dense().clone()
    state = SavedState([model], [])
    state.free_gradients()
    assert model.weight.grad is None
    model(torch.tensor([2])).sum().backward()
    state.restore()
    assert model.weight.grad is gradient
    assert torch.equal(gradient.to_dense(), values)


@pytest.mark.parametrize(("frees", "num_bytes"), [(True, 0), (False, 24)])
def test_a_dense_gradient_is_off_meanwhile_and_comes_back(frees: bool, num_bytes: int) -> None:
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    gradient, values = model.weight.grad, model.weight.grad.clone()
    state = SavedState([model], [], frees_gradients=frees)
    state.free_gradients()
    assert model.weight.grad is None
    assert gradient.untyped_storage().nbytes() == num_bytes
    assert state.held_bytes == 2 * (24 + 8)
    state.restore()
    assert model.weight.grad is gradient
    assert torch.equal(gradient, values)


def test_weights_that_were_given_other_memory_get_their_own_back() -> None:
    model = nn.Linear(3, 2)
    where, values = model.weight.data_ptr(), model.weight.detach().clone()
    state = SavedState([model], [])
    model.weight.data = torch.zeros(2, 3)
    state.restore()
    assert model.weight.data_ptr() == where
    assert torch.equal(model.weight, values)


def test_a_graph_from_before_can_still_be_run_backward() -> None:
    model = nn.Linear(3, 2)
    loss = model(torch.ones(1, 3)).square().sum()
    state = SavedState([model], [])
    with torch.no_grad():
        model.weight.zero_()
    state.restore()
    loss.backward()  # PyTorch refuses where a weight's version tells of a change


@pytest.mark.parametrize("make", [lambda: torch.ones(2), lambda: numpy.ones(2)])
def test_arrays_and_tensors_among_the_attributes_are_put_back(make: Any) -> None:
    module = nn.Module()
    module.scale = make()
    with torch.inference_mode():
        module.mask = torch.ones(2)
    state = SavedState([module], [])
    module.scale += 1
    state.restore()
    assert module.scale.tolist() == [1, 1]


def test_what_was_made_meanwhile_is_dropped_before_gradients_need_its_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = nn.Linear(3, 2)
    model(torch.ones(1, 3)).sum().backward()
    optimizer = torch.optim.Adam(model.parameters())
    state = SavedState([model, optimizer], [], frees_gradients=True)
    state.free_gradients()
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    made = weakref.ref(optimizer.state[model.weight]["exp_avg"])
    alive = []
    resize = torch.UntypedStorage.resize_

    def watch(storage: torch.UntypedStorage, size: int) -> Any:
        alive.append(made() is not None)
        return resize(storage, size)

    monkeypatch.setattr(torch.UntypedStorage, "resize_", watch)
    state.restore()
    assert alive == [False, False]  # of the weight and of the bias
    assert model.weight.grad.tolist() == [[1.0] * 3] * 2


def test_the_copies_are_counted() -> None:
    assert SavedState([nn.Linear(256, 256, bias=False)], []).held_bytes == 256 * 256 * 4


def test_between_two_pieces_of_work_only_what_is_small_is_put_back() -> None:
    model = nn.Sequential(nn.Linear(1024, 1024), nn.BatchNorm1d(1024))
    model(torch.ones(2, 1024)).square().sum().backward()
    optimizer = torch.optim.Adam(model.parameters())
    gradient, values = model[0].weight.grad, model[0].weight.grad.clone()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    state = SavedState([model, optimizer], [], frees_gradients=True)
    state.free_gradients()
    for _ in range(2):
        model(torch.randn(2, 1024)).square().sum().backward()
        optimizer.step()
        state.settle()
        assert not optimizer.state
        assert model[0].weight.grad is None
        assert gradient.untyped_storage().nbytes() == 0
        now = model.state_dict()
        changed = [name for name, each in before.items() if not torch.equal(each, now[name])]
        assert changed == ["0.weight"]
    state.restore()
    assert all(torch.equal(each, model.state_dict()[name]) for name, each in before.items())
    assert model[0].weight.grad is gradient
    assert torch.equal(gradient, values)


def test_copies_that_would_not_fit_are_refused_before_any_is_made() -> None:
    model = nn.Linear(1024, 1024, bias=False)
    with pytest.raises(DeviceError, match=r"a copy .* takes 4\.0 MiB, and 2\.0 MiB of") as caught:
        SavedState([model], [], room_bytes=2**21)
    assert caught.value.hint
    assert SavedState([model], [], room_bytes=2**22).held_bytes == 2**22

"""What a piece of work does not leave behind."""

from __future__ import annotations

import weakref
from contextlib import nullcontext
from typing import Any

import pytest
import torch

from autobatch.probe.trial.start import drop_gradients_at_end


class _RunsOut(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("out of memory")


def run_out_in_backward(weight: torch.Tensor) -> weakref.ref[torch.Tensor]:
    """Have memory run out before the pass comes to a node; return what that node has saved."""
    saved = torch.ones(3)
    product = weight * saved
    with pytest.raises(torch.OutOfMemoryError):
        (_RunsOut.apply(weight) + product).sum().backward()
    return weakref.ref(saved)


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.ones(3, requires_grad=True)


def test_a_backward_pass_that_failed_leaves_nothing(weight: torch.Tensor) -> None:
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.grad = torch.ones(3)
    with drop_gradients_at_end(optimizer):
        saved = run_out_in_backward(weight)
        assert saved() is not None, "PyTorch frees it by itself: nothing need be done any more"
    assert saved() is None
    assert weight.grad is None


@pytest.mark.parametrize("modes", [nullcontext, torch.no_grad])
def test_gradients_are_dropped_in_any_mode(weight: torch.Tensor, modes: Any) -> None:
    with modes(), drop_gradients_at_end(torch.optim.SGD([weight], lr=0.1)):
        weight.grad = torch.ones(3)
    assert weight.grad is None


def test_a_device_that_is_lost_is_left_alone(weight: torch.Tensor) -> None:
    weight.grad = torch.ones(3)
    optimizer = torch.optim.SGD([weight], lr=0.1)
    with pytest.raises(RuntimeError, match="device-side"), drop_gradients_at_end(optimizer):
        raise RuntimeError("CUDA error: device-side assert triggered")
    assert weight.grad is not None

"""What a training step is made of, counted in real steps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from autobatch.check.measurement import StepMakeup
from autobatch.check.reference import BUILTINS
from autobatch.devices.cpu import CpuDevice
from autobatch.probe.makeup import inspect_step
from autobatch.probe.protocol import MakeupRequest
from autobatch.records import Precision, Settings
from autobatch.workload.task import load_task


def inspect(task: Any, batch_size: int = 8) -> StepMakeup:
    request = MakeupRequest(batch_size=batch_size, budget_bytes=2**40)
    return inspect_step(task, CpuDevice(), request, precision=Precision.FP32, seed=0)


def random_batch(*shape: int) -> Any:
    return lambda size: (torch.randn(size, *shape), torch.randint(3, (size,)))


def test_the_work_of_matrix_products_is_counted(make_task: Any) -> None:
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 3))
    found = inspect(make_task(model, batch=random_batch(64), loss=nn.CrossEntropyLoss()))
    # Forward, and backward for the weights of both and the input of the second.
    expected = 2 * 8 * (2 * 64 * 128 + 3 * 128 * 3)
    assert found.matrix_flops == expected
    assert found.convolution_flops == 0
    assert found.tensor_bytes == 8 * 128 * 4, "the activations, and no weights"
    assert 20 < found.num_calls < 200


def test_convolutions_are_told_from_matrix_products(make_task: Any) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)
    )
    found = inspect(make_task(model, batch=random_batch(1, 6, 6), loss=nn.CrossEntropyLoss()))
    forward = 2 * 8 * 36 * 4 * 9
    assert found.convolution_flops == 2 * forward, "there is no gradient of the input"
    assert found.matrix_flops == 2 * 8 * 3 * 4 * 36 * 3


def test_tensors_grow_with_the_batch_and_calls_do_not(make_task: Any) -> None:
    task = make_task(
        nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 3)),
        batch=random_batch(64),
        loss=nn.CrossEntropyLoss(),
    )
    inspect(task)  # the optimizer makes its state
    small, large = inspect(task, 8), inspect(task, 32)
    assert large.tensor_bytes == 4 * small.tensor_bytes
    assert large.matrix_flops == 4 * small.matrix_flops
    assert large.num_calls == small.num_calls


def test_a_step_that_keeps_nothing_has_no_usual_tensor(make_task: Any) -> None:
    class Bias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(()))

        def forward(self, batch: Any) -> Any:
            return self.bias + 0.0

    task = make_task(Bias(), sample=torch.zeros(3), training_step=lambda model, batch: model(batch))
    assert inspect(task).tensor_bytes == 0


@pytest.mark.parametrize("name", BUILTINS)
def test_the_tensors_of_a_built_in_reference_are_as_large_as_is_said(name: str) -> None:
    kind = name.partition(":")[2]
    task = load_task(f"autobatch.workload.reference:{kind}", Settings(device="cpu"))
    found = inspect(task, 64)
    assert found.tensor_bytes == 64 * BUILTINS[name].sample_bytes
    flops = found.convolution_flops + found.matrix_flops
    assert (flops < 5e4 * found.num_calls) == (kind == "calls")
    assert (found.convolution_flops > found.matrix_flops) == (kind == "convolutions")

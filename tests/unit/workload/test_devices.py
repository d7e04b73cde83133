"""Everything that a step needs is on its device: "meta" as a second one finds what is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from autobatch.probe.trial.step import TrainingStep
from autobatch.records import Precision, Settings
from autobatch.workload.optimizer import move_state
from autobatch.workload.task import load_task

TARGET = """
import torch
from torch import nn
model = nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4))
dataset = [(torch.randn(8), 1)] * 16
"""


@pytest.mark.parametrize(
    "more",
    [
        "loss = nn.CrossEntropyLoss(weight=torch.ones(4))",
        # Its state is made with it.
        "optimizer = lambda parameters: torch.optim.Adagrad(parameters, lr=0.1)",
        "optimizer = torch.optim.Adagrad",
        "loss = nn.NLLLoss(weight=torch.ones(4))\noptimizer = torch.optim.Adagrad",
    ],
)
def test_a_step_finds_its_tensors_on_the_device(more: str, tmp_path: Any) -> None:
    target = tmp_path / "model.py"
    target.write_text(TARGET + more)
    task = load_task(str(target), Settings(), "meta")
    step = TrainingStep(task, "meta", Precision.FP32)
    for _ in range(2):
        assert step(next(task.source.batches(4))).device.type == "meta"
    state = task.built.optimizer.state.values()
    held = [each for values in state for each in values.values() if torch.is_tensor(each)]
    assert {each.device.type for each in held if each.dim() > 0} == {"meta"}


def test_the_state_of_an_optimizer_that_was_made_before_follows_its_parameters() -> None:
    model = nn.Linear(3, 2, device="meta")
    optimizer = torch.optim.Adagrad(model.parameters())
    for parameter, state in optimizer.state.items():
        state["sum"] = torch.zeros(parameter.shape)
    move_state(optimizer)
    assert {state["sum"].device.type for state in optimizer.state.values()} == {"meta"}


def test_state_that_is_where_it_belongs_is_left_alone() -> None:
    optimizer = torch.optim.Adagrad(nn.Linear(3, 2).parameters())
    before = {id(state["sum"]) for state in optimizer.state.values()}
    move_state(optimizer)
    assert {id(state["sum"]) for state in optimizer.state.values()} == before


def test_random_batches_are_kept_beside_a_device_and_not_in_the_memory_of_the_cpu(
    tmp_path: Any,
) -> None:
    target = tmp_path / "model.py"
    target.write_text(TARGET)
    for device_name, is_kept in (("meta", True), ("cpu", False)):
        source = load_task(f"{target},input=8,classes=4", Settings(), device_name).source
        first, second = next(source.batches(4)), next(source.batches(4))
        assert (first is second) is is_kept

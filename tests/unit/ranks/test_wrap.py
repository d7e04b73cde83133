"""How a model is wrapped for several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from autobatch.errors import WorkloadError
from autobatch.ranks.groups import open_stand_in
from autobatch.ranks.settings import Parallel
from autobatch.ranks.wrap import describe_wrapping, find_blocks, inner_name, wrap_task
from autobatch.records import Settings
from autobatch.workload.contract import Workload
from autobatch.workload.live import build_task
from autobatch.workload.task import TrainingTask


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layers(inputs)
        return result


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            inputs = block(inputs)
        result: torch.Tensor = self.head(inputs)
        return result


@pytest.fixture(autouse=True)
def group() -> Iterator[None]:
    open_stand_in(0, 2)
    yield
    distributed.destroy_process_group()


@pytest.fixture
def make() -> Callable[..., TrainingTask]:
    def make_task(**workload: Any) -> TrainingTask:
        plain = Workload(model=Net(), sample=(torch.randn(4), torch.tensor(1)))
        return build_task(replace(plain, **workload), Settings(device="cpu"))

    return make_task


def test_blocks_are_what_a_list_repeats_and_not_their_parts() -> None:
    net = Net()
    assert list(find_blocks(net)) == list(net.blocks)


def test_ddp_keeps_the_optimizer_of_its_parameters(make: Callable[..., TrainingTask]) -> None:
    task = make()
    wrapped = wrap_task(task, Parallel.DDP)
    assert isinstance(wrapped.model, DistributedDataParallel)
    assert wrapped.built is task.built
    assert describe_wrapping(wrapped.model) == "DDP"
    assert inner_name(wrapped.model) == "Net"


def test_fsdp2_shards_each_block_and_makes_the_optimizer_anew(
    make: Callable[..., TrainingTask],
) -> None:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

    wrapped = wrap_task(make(optimizer=torch.optim.SGD), Parallel.FSDP2)
    sharded = [each for each in wrapped.model.modules() if isinstance(each, FSDPModule)]
    assert len(sharded) == 3
    (group,) = wrapped.built.optimizer.param_groups
    assert all(isinstance(each, DTensor) for each in group["params"])
    assert group["lr"] == 0.0
    assert describe_wrapping(wrapped.model) == "FSDP2"
    assert inner_name(wrapped.model) == "Net"


def test_an_optimizer_of_parameters_that_are_no_more_is_refused(
    make: Callable[..., TrainingTask],
) -> None:
    net = Net()
    task = make(model=net, optimizer=torch.optim.SGD(net.parameters(), lr=0.1))
    assert wrap_task(task, Parallel.DDP).built.learning_rate == 0.1
    with pytest.raises(WorkloadError, match="before it was wrapped"):
        wrap_task(task, Parallel.FSDP2)


def test_the_target_says_how_it_is_wrapped(make: Callable[..., TrainingTask]) -> None:
    def parallelize(model: nn.Module) -> nn.Module:
        return DistributedDataParallel(model, static_graph=True)

    wrapped = wrap_task(make(parallelize=parallelize), Parallel.FSDP2)
    assert isinstance(wrapped.model, DistributedDataParallel)
    assert wrapped.model.static_graph


def test_what_it_returns_must_be_a_model(make: Callable[..., TrainingTask]) -> None:
    with pytest.raises(WorkloadError, match=r"parallelize\(model\) returned a NoneType"):
        wrap_task(make(parallelize=lambda model: None), Parallel.DDP)


def test_keywords_of_a_batch_reach_the_model_inside_ddp(make: Callable[..., TrainingTask]) -> None:
    sample = {"inputs": torch.randn(4), "labels": torch.tensor(1)}
    task = wrap_task(make(sample=sample, loss=nn.CrossEntropyLoss()), Parallel.DDP)
    assert task.loss(task.model, next(task.source.batches(2))).ndim == 0

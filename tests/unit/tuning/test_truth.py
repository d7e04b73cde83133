"""Levers are put on and taken off again, and one that changes a step is found."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn
from torch.utils.checkpoint import checkpoint

from autobatch.tuning.levers import Parts, put_on_all
from autobatch.tuning.records import Changes, Truth
from autobatch.tuning.truth import check_truth, find_facts
from autobatch.tuning.tuned import TunedTask, tune_task


class Block(nn.Module):
    def __init__(self, norm: bool, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4) if norm else nn.Identity(),
            nn.Dropout(dropout),
            nn.ReLU(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layers(x)


class Stack(nn.Module):
    """Three blocks; its own switch, where it is asked for one, may draw dropout again."""

    def __init__(self, norm: bool = False, dropout: float = 0.5, keeps: bool = True) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(norm, dropout) for _ in range(3))
        self.head = nn.Linear(4, 2)
        self.keeps, self.checkpoints = keeps, False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            if self.checkpoints:
                x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=self.keeps)
            else:
                x = block(x)
        return self.head(x.mean(dim=(2, 3)))


class Switched(Stack):
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        self.checkpoints = enable


def make_batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(size, 4, 6, 6), torch.zeros(size, dtype=torch.long)


@pytest.fixture
def check(make_task: Any) -> Any:
    def run(model: nn.Module, changes: Changes) -> Truth:
        task = make_task(model, batch=make_batch, loss=nn.CrossEntropyLoss())
        return check_truth(make_context(tune_task(task, changes)), 8)

    return run


@pytest.mark.parametrize(
    "changes",
    [
        {"checkpointing": "every_block"},
        {"checkpointing": "every_second_block"},
        {"channels_last": "on"},
        {"channels_last": "on", "checkpointing": "every_block"},
    ],
)
def test_a_lever_that_keeps_the_step_is_true(check: Any, changes: Changes) -> None:
    truth = check(Stack(), changes)
    assert truth.fault == ""
    assert truth.chance_fraction == 0


def test_checkpointing_that_draws_dropout_again_is_found(check: Any) -> None:
    changes = {"checkpointing": "every_block"}
    assert check(Switched(keeps=True), changes).fault == ""
    truth = check(Switched(keeps=False), changes)
    assert truth.loss_fraction == 0
    assert "the gradients" in truth.fault


def test_checkpointing_that_counts_a_batch_twice_in_batch_norm_is_found(check: Any) -> None:
    truth = check(Stack(norm=True, dropout=0.0), {"checkpointing": "every_block"})
    assert truth.gradient_fraction < 1e-5
    assert "running statistics" in truth.fault


def test_a_lever_that_changes_the_loss_is_found(
    check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def halve(model: nn.Module, backend: str) -> None:
        model._compiled_call_impl = lambda x: model.forward(x) / 2  # type: ignore[assignment]

    monkeypatch.setattr(nn.Module, "compile", halve)
    assert "the loss" in check(Stack(), {"compile": "inductor"}).fault


def test_nothing_is_left_of_levers_that_are_taken_off(make_task: Any) -> None:
    model = Stack()
    before = {name: (value.clone(), value.stride()) for name, value in model.state_dict().items()}
    modules = dict(model.named_modules())
    optimizer = torch.optim.AdamW(model.parameters())
    groups = [dict(group) for group in optimizer.param_groups]
    num_threads = torch.get_num_threads()
    take_off = put_on_all(
        Parts(model=model, optimizer=optimizer),
        {
            "channels_last": "on",
            "optimizer": "foreach",
            "threads": "1",
            "checkpointing": "every_block",
            "compile": "eager",
        },
    )
    assert optimizer.param_groups[0]["foreach"]
    assert model._compiled_call_impl is not None
    assert dict(model.named_modules()) != modules
    take_off()
    assert dict(model.named_modules()) == modules
    assert model._compiled_call_impl is None
    assert optimizer.param_groups == groups
    assert torch.get_num_threads() == num_threads
    after = {name: (value, value.stride()) for name, value in model.state_dict().items()}
    assert all(torch.equal(after[name][0], value) for name, (value, _) in before.items())
    assert all(after[name][1] == stride for name, (_, stride) in before.items())


def test_a_task_has_its_levers_on_again_after_the_comparison(make_task: Any) -> None:
    model = Stack()
    task = tune_task(
        make_task(model, batch=make_batch, loss=nn.CrossEntropyLoss()),
        {"checkpointing": "every_block"},
    )
    assert isinstance(task, TunedTask)
    modules = [type(each).__name__ for each in model.modules()]
    check_truth(make_context(task), 8)
    assert [type(each).__name__ for each in model.modules()] == modules
    assert "CheckpointWrapper" in modules


def test_a_fused_optimizer_makes_the_same_step() -> None:
    def weights_after(changes: Changes) -> torch.Tensor:
        torch.manual_seed(0)
        model = nn.Linear(3, 3)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        put_on_all(Parts(model=model, optimizer=optimizer), changes)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()
        return model.weight.detach()

    plain = weights_after({})
    for form in ("fused", "foreach"):
        torch.testing.assert_close(weights_after({"optimizer": form}), plain)


def test_facts_are_those_of_the_workload(make_task: Any) -> None:
    facts = find_facts(make_context(make_task(Stack(), batch=make_batch)))
    assert facts.has_convolutions
    assert facts.blocks == ("blocks.0", "blocks.1", "blocks.2")
    assert facts.checkpoint_switch == ""
    assert set(facts.optimizer_forms) == {"fused", "foreach"}
    assert find_facts(make_context(make_task(Switched(), batch=make_batch))).checkpoint_switch
    plain = find_facts(make_context(make_task(nn.Linear(4, 2), batch=make_batch)))
    assert not plain.blocks
    assert not plain.has_convolutions

"""Training steps that step their own optimizers, such as those of GANs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from autobatch.errors import WorkloadError
from autobatch.probe.trial.step import TrainingStep
from autobatch.records import Precision, Settings
from autobatch.workload.contract import Workload
from autobatch.workload.loss import LossFunction
from autobatch.workload.task import TrainingTask, assemble, make_source

X = torch.randn(5, 4)


class Gan:
    """Two models and two optimizers, and the step of both."""

    def __init__(self, returns: Any = None, make: Any = torch.optim.Adam) -> None:
        self.generator, self.discriminator = nn.Linear(4, 4), nn.Linear(4, 1)
        self.first = make(self.generator.parameters(), lr=0.25)
        self.second = torch.optim.Adam(self.discriminator.parameters(), lr=0.5)
        self.returns = returns

    def step(self, model: nn.Module, batch: torch.Tensor) -> Any:
        for optimizer in (self.second, self.first):
            optimizer.zero_grad()
            loss = self.discriminator(model(batch)).square().mean()
            loss.backward()
            optimizer.step()
        return self.returns(loss) if self.returns else None

    def task(self) -> TrainingTask:
        workload = Workload(
            model=self.generator, dataset=[torch.randn(4)] * 8, training_step=self.step
        )
        return assemble(workload, self.generator, make_source(workload))


@pytest.mark.parametrize(
    "returns",
    [
        None,
        lambda loss: loss,
        lambda loss: loss.detach(),
        lambda loss: loss.item(),
        lambda loss: {"d": loss.item(), "g": 0.5},
        lambda loss: (loss, loss),
    ],
)
def test_a_step_that_does_all_by_itself_may_return_anything(returns: Any) -> None:
    gan = Gan(returns)
    step = TrainingStep(gan.task(), "cpu", Precision.FP32)
    for _ in range(2):
        loss = step(X)
        assert loss.dim() == 0
        assert not loss.requires_grad
        if returns is not None:
            assert loss == gan.discriminator(gan.generator(X)).square().mean()
    assert len(gan.first.state) == len(gan.second.state) == 2  # both were stepped


def test_its_optimizers_leave_the_weights_and_their_rates_are_known() -> None:
    gan = Gan()
    task = gan.task()
    before = [each.detach().clone() for each in gan.discriminator.parameters()]
    step = TrainingStep(task, "cpu", Precision.FP32)
    for _ in range(3):
        step(X)
    assert all(map(torch.equal, before, gan.discriminator.parameters()))
    own = task.loss.facts.own_optimizers
    assert [(each.name, each.learning_rate) for each in own] == [("Adam", 0.5), ("Adam", 0.25)]
    assert not task.built.optimizer.state  # AdamW, which nobody asked for, was never stepped


def test_a_schedule_inside_the_step_does_not_bring_the_rates_back() -> None:
    gan = Gan()
    schedule = torch.optim.lr_scheduler.LambdaLR(gan.first, lambda epoch: 1.0)
    before = gan.generator.weight.detach().clone()
    workload = Workload(
        model=gan.generator,
        dataset=[torch.randn(4)] * 8,
        training_step=lambda model, batch: (gan.step(model, batch), schedule.step()),
    )
    step = TrainingStep(
        assemble(workload, gan.generator, make_source(workload)), "cpu", Precision.FP32
    )
    for _ in range(3):
        step(X)
    assert torch.equal(before, gan.generator.weight)


@pytest.mark.parametrize(
    ("make", "name", "rate"), [(torch.optim.Adam, "Adam", None), (torch.optim.SGD, None, None)]
)
def test_the_summary_names_what_steps_instead_of_an_assumed_adamw(
    make: Any, name: str | None, rate: float | None
) -> None:
    task = Gan(make=make).task()
    TrainingStep(task, "cpu", Precision.FP32)(X)
    summary = task.summarize(1, Settings(base_batch_size=8))
    assert summary.loss == "training_step(model, batch) with 2 optimizers of its own"
    assert (summary.optimizer, summary.base_learning_rate) == (name, rate)
    assert summary.optimizer_was_given
    assert summary.guesses == ()


def test_the_rate_of_an_optimizer_that_the_file_names_is_known_when_its_step_steps_it() -> None:
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.125)

    def training_step(model: nn.Module, batch: torch.Tensor) -> float:
        optimizer.zero_grad()
        loss = model(batch).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    workload = Workload(
        model=model, dataset=[X[0]] * 8, training_step=training_step, optimizer=optimizer
    )
    task = assemble(workload, model, make_source(workload))
    TrainingStep(task, "cpu", Precision.FP32)(X)
    summary = task.summarize(1, Settings())
    assert (summary.optimizer, summary.base_learning_rate) == ("SGD", 0.125)


def test_backward_without_a_step_is_an_error_that_names_the_line(error_of: Any) -> None:
    model = nn.Linear(4, 4)

    def training_step(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        loss = model(batch).square().mean()
        loss.backward()
        return loss

    function = LossFunction(Workload(model=model, training_step=training_step), model)
    error = error_of(function, model, X)
    assert "called backward(), and no optimizer's step()" in str(error)
    assert "without backward()" in error.hint


def test_a_gradient_penalty_is_no_backward() -> None:
    model = nn.Linear(4, 4)

    def training_step(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        batch = batch.clone().requires_grad_()
        score = model(batch).square().sum()
        (gradient,) = torch.autograd.grad(score, batch, create_graph=True)
        return score + gradient.square().mean()

    function = LossFunction(Workload(model=model, training_step=training_step), model)
    assert function(model, X).requires_grad
    assert not function.facts.steps_itself


def test_no_gradient_can_be_measured_of_it() -> None:
    step = TrainingStep(Gan().task(), "cpu", Precision.FP32)
    with pytest.raises(WorkloadError, match="no gradient can be measured: training_step") as caught:
        step.backward(X)
    assert "return the loss" in caught.value.hint


def test_where_its_changes_cannot_be_put_back_it_is_refused_before_it_makes_any() -> None:
    gan = Gan()
    task = gan.task()
    task.loss.own_steps.can_put_back = False
    before = gan.discriminator.weight.detach().clone()
    with pytest.raises(WorkloadError, match="steps its own Adam") as caught:
        TrainingStep(task, "cpu", Precision.FP32)(X)
    assert "autobatch probe" in caught.value.hint
    assert torch.equal(before, gan.discriminator.weight)
    assert gan.second.param_groups[0]["lr"] == 0.5
    assert not gan.second.state

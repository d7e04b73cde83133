"""The user's optimizer, made harmless."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

from autobatch.workload.contract import Workload
from autobatch.workload.optimizer import build_optimizer


def _build(model: nn.Module, **fields: Any) -> Any:
    return build_optimizer(Workload(model=model, **fields), model)


def _rates(built: Any) -> list[float]:
    return [float(group["lr"]) for group in built.optimizer.param_groups]


def test_without_an_optimizer_it_is_adamw(linear: Any) -> None:
    built = _build(linear)
    assert type(built.optimizer) is torch.optim.AdamW
    assert not built.was_given


def test_a_class_is_made_with_the_users_learning_rate(linear: Any) -> None:
    built = _build(linear, optimizer=torch.optim.SGD, lr=0.3)
    assert type(built.optimizer) is torch.optim.SGD
    assert built.was_given
    assert built.learning_rate == 0.3


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.2, momentum=0.9),
        functools.partial(torch.optim.SGD, lr=0.2, momentum=0.9),
    ],
)
def test_a_function_decides_the_learning_rate_itself(make: Any, linear: Any) -> None:
    built = _build(linear, optimizer=make, lr=0.7)
    assert built.learning_rate == 0.2
    assert built.optimizer.param_groups[0]["momentum"] == 0.9


def test_an_optimizer_of_the_models_parameters_is_used_as_it_is(linear: Any) -> None:
    own = torch.optim.RMSprop(linear.parameters(), lr=0.4)
    built = _build(linear, optimizer=own)
    assert built.optimizer is own
    assert built.learning_rate == 0.4


def test_an_optimizer_of_some_of_the_parameters_is_used_too(linear: Any) -> None:
    own = torch.optim.SGD([linear.bias], lr=0.4)
    assert _build(linear, optimizer=own).optimizer is own


def test_an_optimizer_of_another_model_is_an_error(linear: Any, error_of: Any) -> None:
    other = torch.optim.SGD(nn.Linear(4, 3).parameters(), lr=0.1)
    error = error_of(_build, linear, optimizer=other)
    assert "parameters that are not the model's" in str(error)
    assert "lambda" in error.hint


@pytest.mark.parametrize(
    ("optimizer", "text"),
    [
        (3, "'optimizer' is a int"),
        (lambda parameters: None, "made a NoneType, not a torch.optim.Optimizer"),
        (dict, "making the optimizer failed"),
        (lambda: None, "making the optimizer failed: TypeError"),
    ],
)
def test_what_is_no_optimizer_is_an_error(
    optimizer: Any, text: str, linear: Any, error_of: Any
) -> None:
    assert text in str(error_of(_build, linear, optimizer=optimizer))


def test_learning_rates_are_zero_during_trials_and_known_before(linear: Any) -> None:
    built = _build(linear, optimizer=functools.partial(torch.optim.Adam, lr=0.25))
    assert built.learning_rate == 0.25
    assert _rates(built) == [0.0]


def test_several_learning_rates_are_no_one_learning_rate(linear: Any) -> None:
    own = torch.optim.SGD(
        [{"params": [linear.weight], "lr": 0.1}, {"params": [linear.bias], "lr": 0.2}]
    )
    built = _build(linear, optimizer=own)
    assert built.learning_rate is None
    assert _rates(built) == [0.0, 0.0]


def test_a_learning_rate_in_a_tensor_stays_a_tensor(linear: Any) -> None:
    rate = torch.tensor(0.5)
    built = _build(linear, optimizer=lambda p: torch.optim.Adam(p, lr=rate, capturable=False))
    assert torch.is_tensor(built.optimizer.param_groups[0]["lr"])
    assert built.learning_rate == 0.5
    assert float(rate) == 0.5


def test_an_optimizer_without_a_learning_rate_is_left_alone(linear: Any) -> None:
    class Schedules(torch.optim.SGD):
        """Decides its own rate, as Adafactor of ``transformers`` does."""

        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, lr=0.1)
            self.param_groups[0]["lr"] = None

    built = _build(linear, optimizer=Schedules)
    assert built.learning_rate is None
    assert built.optimizer.param_groups[0]["lr"] is None


@pytest.mark.parametrize(
    "optimizer",
    [
        functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
        functools.partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1),
        functools.partial(torch.optim.Adam, lr=0.1, amsgrad=True),
        functools.partial(torch.optim.RMSprop, lr=0.1),
        functools.partial(torch.optim.Adagrad, lr=0.1),
        functools.partial(torch.optim.NAdam, lr=0.1),
    ],
    ids=lambda optimizer: optimizer.func.__name__,
)
def test_a_step_builds_state_and_leaves_the_weights(optimizer: Any, linear: Any) -> None:
    before = linear.weight.detach().clone()
    built = _build(linear, optimizer=optimizer)
    for _ in range(3):
        linear(torch.randn(5, 4)).square().sum().backward()
        built.optimizer.step()
    assert torch.equal(linear.weight, before)
    assert built.optimizer.state[linear.weight]


@pytest.mark.parametrize(
    ("optimizer", "is_default"),
    [
        (torch.optim.AdamW, True),
        (lambda parameters: torch.optim.AdamW(parameters), True),
        (functools.partial(torch.optim.AdamW, weight_decay=0.1), True),
        (functools.partial(torch.optim.AdamW, lr=0.001), False),
        (lambda parameters: torch.optim.AdamW(parameters, lr=0.001), False),
        (lambda parameters: torch.optim.AdamW(parameters, 0.001), False),
        (lambda parameters: torch.optim.AdamW(parameters, lr=0.01), False),
    ],
)
def test_a_rate_that_nobody_named_is_known_to_be_the_default(
    optimizer: Any, is_default: bool, linear: Any
) -> None:
    assert _build(linear, optimizer=optimizer).rate_is_default == is_default


def test_the_rate_of_an_optimizer_is_what_is_trained_with_now(linear: Any) -> None:
    own = torch.optim.AdamW(linear.parameters())
    assert not _build(linear, optimizer=own).rate_is_default

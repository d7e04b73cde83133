"""The gradients of micro-batches, from real models and data."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fixtures.tasks import make_context
from torch import nn
from torch.utils.data import TensorDataset

from autobatch.devices.cpu import CpuDevice
from autobatch.errors import SettingsError, WorkloadError
from autobatch.noise.estimate import GradientSums, estimate_noise_scale
from autobatch.noise.job import NoisePlan, ShortTraining
from autobatch.noise.measure import measure_gradients
from autobatch.records import NoiseScale

PLAN = NoisePlan(micro_batch_size=8, max_time_s=60.0)


class Unbounded(CpuDevice):
    """A processor on which a budget of a few MiB can be tried: this process holds more."""

    @contextmanager
    def enforce(self, budget_bytes: int) -> Iterator[bool]:
        yield False


def measure(
    task: Any,
    plan: NoisePlan = PLAN,
    clock: Callable[[], float] = time.perf_counter,
    **fields: Any,
) -> NoiseScale:
    context = make_context(task, **{"is_apart": True, **fields})
    return measure_gradients(context, plan, clock=clock)


def regression(num_samples: int = 4096, seed: int = 0) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(num_samples, 6, generator=generator)
    noise = 0.5 * torch.randn(num_samples, 1, generator=generator)
    return TensorDataset(features, features.sum(dim=1, keepdim=True) + noise)


def linear() -> nn.Module:
    model = nn.Linear(6, 1, bias=False)
    nn.init.zeros_(model.weight)
    return model


def test_linear_regression_has_the_noise_scale_that_theory_gives_it(make_task: Any) -> None:
    # Standard normal features, distance d with |d|^2 = 6, noise s = 0.5: the gradient of
    # (x w - y)^2 has mean -2 d and a covariance of trace 4 (6 (6 + s^2) + 6).
    found = measure(make_task(linear(), dataset=regression(), loss=nn.MSELoss()))
    assert found.noise_scale == pytest.approx((6 * 6.25 + 6) / 6, rel=0.1)
    assert found.num_micro_batches == 512
    assert found.low < 7.25 < (found.high or 0)


def test_it_is_what_the_gradients_of_the_samples_say(make_task: Any) -> None:
    model, data = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1)), regression(64)
    rows = []
    for features, target in zip(*data.tensors, strict=True):
        model.zero_grad()
        nn.functional.mse_loss(model(features[None]), target[None]).backward()
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters()]).numpy())
    gradients = np.array(rows, dtype=float)
    expected = estimate_noise_scale(
        GradientSums(
            dot_products=gradients @ gradients.T,
            squared_norms=(gradients**2).sum(axis=1),
            counts=np.ones(64, dtype=int),
            micro_batch_size=1,
        )
    )
    plan = NoisePlan(micro_batch_size=1, max_time_s=60.0)
    found = measure(make_task(model, dataset=data, loss=nn.MSELoss()), plan)
    assert found.num_micro_batches == 64
    assert found.gradient_variance == pytest.approx(expected.gradient_variance, rel=1e-4)
    assert found.squared_gradient_norm == pytest.approx(expected.squared_gradient_norm, rel=1e-3)


def test_nothing_of_the_model_changes(make_task: Any) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 1))
    task = make_task(model, dataset=regression(256), loss=nn.MSELoss())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure(task)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not task.built.optimizer.state


def sgd(rate: float) -> Any:
    return lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=0.9)


TRAINING = ShortTraining(batch_size=16, num_steps=30, max_time_s=60.0)


def test_after_a_short_training_it_is_that_of_the_weights_there(make_task: Any) -> None:
    fields = {"dataset": regression(), "loss": nn.MSELoss()}
    task = make_task(linear(), optimizer=sgd(0.005), **fields)
    found = measure(task, replace(PLAN, training=TRAINING))
    assert found.num_training_steps == 30
    assert found.initial_noise_scale == pytest.approx(7.25, rel=0.15)
    # The test stands in for the child: the weights are still those that it trained to.
    distance = float((1 - task.model.weight.detach()).square().sum())
    assert distance < 3
    expected = (6 * (distance + 0.25) + distance) / distance
    assert found.noise_scale == pytest.approx(expected, rel=0.1)


def test_the_short_training_is_the_loop_that_a_user_would_write(make_task: Any) -> None:
    def batch(size: int) -> Any:
        return torch.ones(size, 6), torch.full((size, 1), 3.0)

    task = make_task(linear(), batch=batch, loss=nn.MSELoss(), optimizer=sgd(0.01))
    training = replace(TRAINING, num_steps=5, rate_multiplier=0.5, learning_rate=0.02)
    measure(task, replace(PLAN, training=training))
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(torch.ones(16, 6)), torch.full((16, 1), 3.0)).backward()
        optimizer.step()
    assert torch.allclose(task.model.weight, model.weight, rtol=1e-5)


def test_where_there_are_no_children_the_short_training_is_undone(make_task: Any) -> None:
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    task = make_task(model, dataset=regression(256), loss=nn.MSELoss(), optimizer=sgd(0.01))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = measure(task, replace(PLAN, training=TRAINING), is_apart=False)
    assert found.num_training_steps == 30
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not task.built.optimizer.state
    assert [group["lr"] for group in task.built.optimizer.param_groups] == [0.0]


def test_a_short_training_that_diverges_leaves_the_figure_before_it(make_task: Any) -> None:
    task = make_task(linear(), dataset=regression(), loss=nn.MSELoss(), optimizer=sgd(1e30))
    found = measure(task, replace(PLAN, training=TRAINING))
    assert found.num_training_steps == 0
    assert found.initial_noise_scale is None
    assert found.noise_scale == pytest.approx(7.25, rel=0.15)


def test_a_short_training_ends_when_its_time_is_up(make_task: Any) -> None:
    times = iter(range(100_000))
    task = make_task(linear(), dataset=regression(), loss=nn.MSELoss(), optimizer=sgd(0.01))
    plan = replace(PLAN, training=replace(TRAINING, max_time_s=7.0))
    assert measure(task, plan, clock=lambda: float(next(times))).num_training_steps == 7


def test_the_same_seed_gives_the_same_figure_and_another_one_another(make_task: Any) -> None:
    task = make_task(linear(), dataset=regression(512), loss=nn.MSELoss())
    plan = NoisePlan(micro_batch_size=8, max_micro_batches=32, max_time_s=60.0)
    assert measure(task, plan) == measure(task, plan)
    assert measure(task, plan) != measure(task, plan, seed=1)


def test_no_sample_comes_twice(make_task: Any) -> None:
    seen = []

    class Noted(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return 100

        def __getitem__(self, index: int) -> Any:
            seen.append(index)
            return torch.randn(6), torch.randn(1)

    found = measure(make_task(linear(), dataset=Noted(), loss=nn.MSELoss()))
    assert found.num_micro_batches == 12
    assert len(set(seen)) == len(seen) == 96


def test_it_ends_when_its_time_is_up_but_not_before_its_fewest(make_task: Any) -> None:
    times = iter(range(1000))
    task = make_task(linear(), dataset=regression(), loss=nn.MSELoss())
    plan = NoisePlan(micro_batch_size=8, max_time_s=40.0, min_micro_batches=20)
    assert measure(task, plan, clock=lambda: float(next(times))).num_micro_batches == 40
    plan = NoisePlan(micro_batch_size=8, max_time_s=0.0, min_micro_batches=20)
    assert measure(task, plan, clock=lambda: 0.0).num_micro_batches == 20


def test_a_function_that_makes_batches_is_real_data(make_task: Any) -> None:
    def batch(size: int) -> Any:
        return torch.randn(size, 6), torch.randn(size, 1)

    found = measure(make_task(linear(), batch=batch, loss=nn.MSELoss()))
    assert found.num_micro_batches == 512


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sample": (torch.randn(6), torch.randn(1))}, "needs real data"),
        ({"dataset": regression(31)}, "31 samples are too few"),
    ],
)
def test_data_that_says_nothing_of_noise_is_refused(
    make_task: Any, fields: Any, message: str
) -> None:
    with pytest.raises(WorkloadError, match=message):
        measure(make_task(linear(), loss=nn.MSELoss(), **fields))


def test_gradients_that_are_not_finite_are_named(make_task: Any) -> None:
    data = TensorDataset(torch.full((256, 6), math.nan), torch.zeros(256, 1))
    with pytest.raises(WorkloadError, match="not finite"):
        measure(make_task(linear(), dataset=data, loss=nn.MSELoss()))


def test_a_budget_that_does_not_hold_the_gradients_is_named(make_task: Any) -> None:
    model = nn.Linear(1000, 1000)
    data = TensorDataset(torch.randn(64, 1000), torch.randn(64, 1000))
    task = make_task(model, dataset=data, loss=nn.MSELoss())
    with pytest.raises(SettingsError, match=r"1,001,000 parameters.*raise|1,001,000 parameters"):
        measure(task, budget_bytes=2**25)


def test_fewer_blocks_fit_a_small_budget(make_task: Any) -> None:
    model = nn.Linear(1000, 100)
    data = TensorDataset(torch.randn(256, 1000), torch.randn(256, 100))
    task = make_task(model, dataset=data, loss=nn.MSELoss())
    roomy = measure(task)
    tight = measure(task, budget_bytes=10 * 4 * 100_100 * 4, device=Unbounded())
    assert tight.gradient_variance == pytest.approx(roomy.gradient_variance, rel=1e-4)
    assert (tight.low, tight.high) != (roomy.low, roomy.high)

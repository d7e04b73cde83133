"""Slices of real training, in this process."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn
from torch.utils.data import IterableDataset, TensorDataset

from autobatch.compare.jobs import TrainJob, TrainReply
from autobatch.compare.records import RunOutcome
from autobatch.compare.training import train_slice
from autobatch.errors import SettingsError, WorkloadError


def regression(num_samples: int = 100) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(num_samples, 3, generator=generator)
    return TensorDataset(features, features.sum(dim=1, keepdim=True))


@pytest.fixture
def train(make_task: Any, tmp_path: Path) -> Any:
    """Train a task, by default a linear regression with SGD at a rate of 0.05."""

    def run(
        task: Any = None, *, name: str = "state", clock: Any = None, **fields: Any
    ) -> TrainReply:
        defaults: dict[str, Any] = {
            "batch_size": 16,
            "num_epochs_done": 0,
            "num_epochs": 3,
            "slice_s": 1e9,
            "rate_multiplier": 1.0,
            "learning_rate": None,
            "validation_fraction": 0.2,
            "state_path": str(tmp_path / f"{name}.pt"),
            # One for each model: they all have the same first weights.
            "initial_path": str(tmp_path / f"initial-{id(task) if task else 0}.pt"),
        }
        context = make_context(task or simple(make_task))
        keywords = {} if clock is None else {"clock": clock}
        return train_slice(context, TrainJob(**{**defaults, **fields}), **keywords)

    return run


def simple(make_task: Any, **fields: Any) -> Any:
    model = nn.Linear(3, 1)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    defaults: dict[str, Any] = {
        "dataset": regression(),
        "loss": nn.MSELoss(),
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    }
    return make_task(model, **{**defaults, **fields})


def test_training_trains(train: Any) -> None:
    reply = train(num_epochs=10)
    assert reply.outcome is RunOutcome.UNFINISHED
    assert len(reply.epochs) == 10
    assert reply.epochs[0].num_iterations == 5
    assert reply.epochs[-1].train_loss < 0.05 * reply.epochs[0].train_loss
    assert reply.epochs[-1].validation_loss < 0.3 * reply.epochs[0].validation_loss
    assert reply.iterations == tuple(range(1, 51))
    assert reply.learning_rate == 0.05
    assert reply.peak_bytes is None or reply.peak_bytes > 0


def test_a_slice_ends_with_the_epoch_that_reaches_the_loss_asked_for(train: Any) -> None:
    losses = [epoch.validation_loss for epoch in train(num_epochs=10, learning_rate=0.03).epochs]
    lowest = losses.index(min(losses))
    assert lowest > 0
    stop = {"stop_at_loss": losses[lowest], "name": "stopped"}
    stopped = train(num_epochs=10, learning_rate=0.03, **stop)
    assert [epoch.validation_loss for epoch in stopped.epochs] == losses[: lowest + 1]
    assert stopped.outcome is RunOutcome.UNFINISHED


def test_it_is_the_loop_that_a_user_would_write(train: Any, make_task: Any) -> None:
    task = simple(make_task)
    reply = train(task, batch_size=None, num_epochs=4, validation_fraction=0.0)
    features, target = regression().tensors
    model = simple(make_task).model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(4):
        loss = nn.functional.mse_loss(model(features), target)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert reply.losses == pytest.approx(losses, rel=1e-4)
    assert torch.allclose(task.model.weight, model.weight, atol=1e-5)


def test_slices_come_to_what_one_run_comes_to(train: Any, make_task: Any) -> None:
    model = [nn.Linear(3, 4), nn.Dropout(0.3), nn.Linear(4, 1)]
    task = make_task(nn.Sequential(*model), dataset=regression(), optimizer=torch.optim.Adam)
    whole = train(task, name="whole", num_epochs=4)
    parts = [
        train(task, name="parts", num_epochs_done=done, num_epochs=done + 1) for done in range(4)
    ]
    assert [part.epochs[0].train_loss for part in parts] == [e.train_loss for e in whole.epochs]
    noises = [part.epochs[0].loss_noise for part in parts]
    assert noises == pytest.approx([epoch.loss_noise for epoch in whole.epochs])


def test_runs_begin_with_the_same_weights_whatever_was_trained_before(
    train: Any, make_task: Any
) -> None:
    task = simple(make_task)
    first = train(task, name="a", num_epochs=2)
    again = train(task, name="b", num_epochs=2)
    assert first.losses == again.losses


def test_a_slice_ends_when_its_time_is_used_but_not_before_an_epoch(train: Any) -> None:
    ticks = iter(range(10**6))
    assert len(train(slice_s=0.0, num_epochs=5, clock=lambda: float(next(ticks))).epochs) == 1


def test_rates_are_multiplied_or_replaced_for_every_group(train: Any, make_task: Any) -> None:
    task = simple(make_task)
    assert train(task, rate_multiplier=0.5).learning_rate == pytest.approx(0.025)
    assert train(task, rate_multiplier=0.5, learning_rate=0.2).learning_rate == pytest.approx(0.1)

    def two_groups(parameters: Any) -> Any:
        weight, bias = parameters
        return torch.optim.SGD([{"params": [weight], "lr": 0.1}, {"params": [bias], "lr": 0.01}])

    task = simple(make_task, optimizer=two_groups)
    assert train(task, rate_multiplier=2.0, name="two").learning_rate is None
    assert [group["lr"] for group in task.built.optimizer.param_groups] == [0.2, 0.02]


def test_a_diverging_run_is_an_outcome(train: Any) -> None:
    reply = train(learning_rate=50.0, num_epochs=40)
    assert reply.outcome is RunOutcome.DIVERGED
    assert "the loss is" in reply.message
    assert all(math.isfinite(loss) for loss in reply.losses)
    assert len(reply.epochs) < 40


def test_an_error_of_one_size_is_an_outcome(train: Any, make_task: Any) -> None:
    def fussy(model: Any, batch: Any) -> Any:
        if len(batch[0]) == 10:
            raise ValueError("ten are too many")
        return model(batch[0]).square().mean()

    task = simple(make_task, training_step=fussy)
    reply = train(task, batch_size=10)
    assert (reply.outcome, reply.message) == (RunOutcome.FAILED, "ValueError: ten are too many")

    def hungry(model: Any, batch: Any) -> Any:
        raise MemoryError("no more")

    task = simple(make_task, training_step=hungry)
    reply = train(task, name="hungry")
    assert (reply.outcome, reply.message) == (RunOutcome.OUT_OF_MEMORY, "no more")


def test_full_batch_descends_smoothly_where_small_batches_oscillate(
    train: Any, make_task: Any
) -> None:
    features, target = regression().tensors
    generator = torch.Generator().manual_seed(1)
    noisy = TensorDataset(features, target + 0.5 * torch.randn(100, 1, generator=generator))
    task = simple(make_task, dataset=noisy)
    small = train(task, batch_size=1, num_epochs=30, learning_rate=0.002)
    full = train(task, batch_size=None, name="full", num_epochs=60)
    assert {epoch.num_iterations for epoch in full.epochs} == {1}
    assert full.epochs[0].loss_noise is None
    assert small.epochs[-1].loss_noise > 10 * full.epochs[-1].loss_noise


def test_losses_are_thinned_to_what_a_picture_holds(train: Any) -> None:
    reply = train(batch_size=1, num_epochs=20, learning_rate=0.002)
    assert reply.outcome is RunOutcome.UNFINISHED
    assert len(reply.losses) == len(reply.iterations) <= 400
    assert reply.iterations[0] == 1
    assert reply.iterations[-1] > 1590
    # Even on a logarithmic axis: all of the first ones, and then ever fewer.
    assert reply.iterations[:10] == tuple(range(1, 11))
    gaps = [b / a for a, b in itertools.pairwise(reply.iterations[100:])]
    assert max(gaps) < 1.06


def test_full_of_an_iterable_without_a_length_is_refused(train: Any, make_task: Any) -> None:
    class Stream(IterableDataset):  # type: ignore[type-arg]
        def __iter__(self) -> Any:
            while True:
                yield torch.randn(3), torch.randn(1)

    task = simple(make_task, dataset=Stream())
    with pytest.raises(SettingsError, match="'full' of an iterable"):
        train(task, batch_size=None)


def test_a_step_that_steps_its_own_optimizers_is_refused(train: Any, make_task: Any) -> None:
    def training_step(model: Any, batch: Any) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        optimizer.zero_grad()
        model(batch[0]).square().mean().backward()
        optimizer.step()

    task = simple(make_task, training_step=training_step)
    with pytest.raises(WorkloadError, match="nothing to compare: training_step") as caught:
        train(task, batch_size=10)
    assert "return the loss" in caught.value.hint


def test_a_long_epoch_tells_how_far_it_is_and_so_does_its_evaluation(
    make_task: Any, tmp_path: Path
) -> None:
    told: list[str] = []
    context = make_context(simple(make_task, dataset=regression(400)), tell=told.append)
    job = TrainJob(
        batch_size=40, num_epochs_done=0, num_epochs=2, slice_s=1e9, rate_multiplier=1.0,
        learning_rate=None, validation_fraction=0.5, state_path=str(tmp_path / "state.pt"),
        initial_path=str(tmp_path / "initial.pt"),
    )  # fmt: skip
    seconds = itertools.count()
    train_slice(context, job, clock=lambda: float(next(seconds)))
    assert told == [  # each batch takes a second
        "epoch 1: 120 of 200 samples, 2 s left",
        "epoch 1, evaluating: 192 of 200 samples, 1 s left",
        "epoch 2: 120 of 200 samples, 2 s left",
        "epoch 2, evaluating: 192 of 200 samples, 1 s left",
    ]

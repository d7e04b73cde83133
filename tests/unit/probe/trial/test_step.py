"""One training step in this process: what it does, in which order, in which arithmetic."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn

from autobatch.probe.protocol import TimingPlan
from autobatch.probe.trial.run import run_trial
from autobatch.probe.trial.start import seed_everything
from autobatch.probe.trial.step import TrainingStep
from autobatch.records import Outcome, Precision

SAMPLES = [(torch.randn(4), torch.randn(3))] * 64
PLAN = TimingPlan(min_steps=3, max_time_s=0.0)


def _trial(task: Any, batch_size: int, precision: Precision = Precision.FP32) -> Any:
    return run_trial(make_context(task, precision=precision), batch_size, PLAN)


def test_a_step_is_all_that_training_does(make_task: Any) -> None:
    events: list[str] = []
    model = nn.Linear(4, 3)
    model.register_forward_hook(lambda *_: events.append("forward"))
    model.weight.register_hook(lambda gradient: events.append("backward"))

    class Recorder(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            events.append("step")
            return super().step(closure)

        def zero_grad(self, set_to_none: bool = True) -> None:
            events.append("zero_grad")
            super().zero_grad(set_to_none)

    task = make_task(model, dataset=SAMPLES, optimizer=Recorder)
    TrainingStep(task, "cpu", Precision.FP32)(next(task.source.batches(8)))
    assert events == ["forward", "zero_grad", "backward", "step"]


def test_a_step_returns_the_loss_without_its_graph(make_task: Any) -> None:
    task = make_task(nn.Linear(4, 3), dataset=SAMPLES)
    batch = next(task.source.batches(8))
    loss = TrainingStep(task, "cpu", Precision.FP32)(batch)
    assert not loss.requires_grad
    assert loss == nn.functional.mse_loss(task.model(batch[0]), batch[1])


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        (Precision.FP32, torch.float32),
        (Precision.BF16, torch.bfloat16),
        (Precision.FP16, torch.float16),
    ],
)
def test_the_precision_reaches_the_arithmetic(
    precision: Precision, dtype: torch.dtype, make_task: Any
) -> None:
    seen: list[torch.dtype] = []
    model = nn.Linear(4, 3)
    model.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    trial = _trial(make_task(model, dataset=SAMPLES), 8, precision)
    assert trial.outcome is Outcome.FITS
    assert set(seen) == {dtype}
    assert model.weight.dtype is torch.float32
    assert model.weight.grad is None


def test_optimizer_state_is_there_under_fp16_too(make_task: Any) -> None:
    # These gradients overflow under a scale of 2**16: a scaler that begins there skips the
    # optimizer's steps, and with them its state and its memory.
    task = make_task(
        nn.Linear(4, 3), dataset=SAMPLES, loss=lambda output, target: 50 * output.sum()
    )
    batch = next(task.source.batches(8))
    TrainingStep(task, "cpu", Precision.FP16)(batch)
    assert task.built.optimizer.state[task.model.weight]


def test_weights_stay_and_gradients_go(make_task: Any) -> None:
    task = make_task(nn.Linear(4, 3), dataset=SAMPLES)
    before = task.model.weight.detach().clone()
    _trial(task, 8)
    assert torch.equal(task.model.weight, before)
    assert task.model.weight.grad is None


def test_a_trial_is_measured(make_task: Any) -> None:
    trial = _trial(make_task(nn.Linear(4, 3), dataset=SAMPLES), 8)
    assert (trial.batch_size, trial.outcome) == (8, Outcome.FITS)
    assert len(trial.step_times_s) == 3
    assert trial.num_warmup_steps >= 2
    assert trial.peak_bytes > 50 * 2**20
    assert trial.page_faults_per_step >= 0
    assert 0 <= trial.kernel_time_fraction <= 1
    assert trial.loss_is_finite
    assert trial.message == ""


def test_the_same_seed_gives_the_same_batches(make_task: Any) -> None:
    samples = [(torch.full((4,), float(number)), torch.zeros(3)) for number in range(64)]
    losses: list[list[float]] = []
    for _ in range(2):
        seen: list[float] = []
        model = nn.Linear(4, 3)
        model.register_forward_pre_hook(
            lambda module, inputs, seen=seen: seen.append(float(inputs[0].sum()))
        )
        seed_everything(5)
        _trial(make_task(model, dataset=samples), 8)
        losses.append(seen[:5])
    assert losses[0] == losses[1]


def test_out_of_memory_is_an_outcome(make_task: Any) -> None:
    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        torch.empty(2**47)
        return output.sum()

    trial = _trial(make_task(nn.Linear(4, 3), dataset=SAMPLES, loss=loss), 8)
    assert trial.outcome is Outcome.OUT_OF_MEMORY
    assert "DefaultCPUAllocator: can't allocate memory" in trial.message
    assert "\n" not in trial.message
    assert trial.step_times_s == ()
    assert trial.step_time_s is None


def test_any_other_error_passes_with_the_batch_size_as_a_note(make_task: Any) -> None:
    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise IndexError("mine")

    with pytest.raises(IndexError, match="mine") as caught:
        _trial(make_task(nn.Linear(4, 3), dataset=SAMPLES, loss=loss), 8)
    if hasattr(caught.value, "__notes__"):
        assert caught.value.__notes__ == ["in a trial at batch size 8"]


def test_a_peak_above_the_budget_is_over_budget(make_task: Any) -> None:
    # A budget that is below what the process holds already cannot be enforced, only noticed.
    task = make_task(nn.Linear(4, 3), dataset=SAMPLES)
    trial = run_trial(make_context(task, budget_bytes=2**20), 1, PLAN)
    assert trial.outcome in (Outcome.OVER_BUDGET, Outcome.OUT_OF_MEMORY)
    assert trial.peak_bytes > 2**20


def test_a_loss_that_is_not_finite_is_noticed(make_task: Any) -> None:
    task = make_task(nn.Linear(4, 3), dataset=SAMPLES, loss=lambda o, t: o.sum() * float("nan"))
    trial = _trial(task, 8)
    assert trial.outcome is Outcome.FITS
    assert not trial.loss_is_finite


class Recorder(torch.optim.SGD):
    """Notes what is done with it."""

    def __init__(self, parameters: Any, events: list[str]) -> None:
        super().__init__(parameters, lr=0.1)
        self.events = events

    def step(self, closure: Any = None) -> Any:
        self.events.append("step")
        return super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.events.append("zero_grad")
        super().zero_grad(set_to_none)


def test_passes_of_a_step_add_their_gradients_before_the_optimizer_steps(make_task: Any) -> None:
    events: list[str] = []
    model = nn.Linear(4, 3)
    model.register_forward_hook(lambda *_: events.append("forward"))
    task = make_task(model, dataset=SAMPLES, optimizer=Recorder(model.parameters(), events))
    batch = next(task.source.batches(8))
    TrainingStep(task, "cpu", Precision.FP32)(batch)
    whole = model.weight.grad.clone()
    events.clear()
    step = TrainingStep(task, "cpu", Precision.FP32, num_passes=2)
    for _ in range(4):
        step(batch)
    assert events == 2 * ["forward", "zero_grad", "forward", "step"]
    assert torch.allclose(model.weight.grad, whole)


def test_a_trial_of_two_passes_counts_the_time_of_one_and_says_so(make_task: Any) -> None:
    events: list[str] = []
    model = nn.Linear(4, 3)
    model.register_forward_hook(lambda *_: events.append("forward"))
    task = make_task(model, dataset=SAMPLES, optimizer=Recorder(model.parameters(), events))
    plan = TimingPlan(min_steps=3, max_time_s=0.0, num_passes=2)
    trial = run_trial(make_context(task), 8, plan)
    assert trial.num_passes == 2
    assert events.count("forward") == 2 * events.count("step") == 2 * trial.num_steps


def test_the_users_own_optimizer_step_runs_in_its_place_and_rates_stay_zero(make_task: Any) -> None:
    events: list[str] = []
    model = nn.Linear(4, 3)
    optimizer = Recorder(model.parameters(), events)

    def own(module: nn.Module, used: Any) -> None:
        events.append("clip")
        nn.utils.clip_grad_norm_(module.parameters(), 1e-3)
        used.step()
        for group in used.param_groups:  # as a scheduler does
            group["lr"] = 0.5

    task = make_task(model, dataset=SAMPLES, optimizer=optimizer, optimizer_step=own)
    before = model.weight.detach().clone()
    step = TrainingStep(task, "cpu", Precision.FP32)
    for batch in itertools.islice(task.source.batches(8), 2):
        step(batch)
    assert events == 2 * ["zero_grad", "clip", "step"]
    assert torch.equal(model.weight, before)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0]


def test_under_fp16_the_own_optimizer_step_sees_gradients_at_their_own_scale(
    make_task: Any,
) -> None:
    model, norms = nn.Linear(4, 3), []

    def own(module: nn.Module, used: Any) -> None:
        norms.append(float(nn.utils.clip_grad_norm_(module.parameters(), 1e9)))
        used.step()

    task = make_task(model, dataset=SAMPLES, optimizer_step=own)
    batch = next(task.source.batches(8))
    for scale in (1.0, 4.0):
        TrainingStep(task, "cpu", Precision.FP16, loss_scale=scale)(batch)
    assert norms[0] == pytest.approx(norms[1], rel=1e-2)
    assert task.built.optimizer.state[model.weight], "the optimizer did not step"

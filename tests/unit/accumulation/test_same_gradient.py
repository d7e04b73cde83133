"""Faults of accumulation are named, and what is right is left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn
from torch.nn import functional

from autobatch.accumulation.batch import split_batch
from autobatch.accumulation.examine import examine_accumulation, find_warnings, plan_comparison
from autobatch.accumulation.job import AccumulationJob
from autobatch.accumulation.measure import compare_gradients
from autobatch.probe.protocol import Crash
from autobatch.records import AccumulationCheck, Outcome, Settings, WarningCode
from autobatch.reporting import advise

GENERATOR = torch.Generator().manual_seed(0)
VOCABULARY, LENGTH, PADDING = 11, 12, -100


def _tokens(num_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.randint(VOCABULARY, (LENGTH,), generator=GENERATOR)
    labels = tokens.clone()
    labels[num_tokens:] = PADDING
    return tokens, labels


UNEQUAL = [_tokens(1 + index % LENGTH) for index in range(48)]
EQUAL = [_tokens(LENGTH) for _ in range(48)]
VECTORS = [
    (torch.randn(6, generator=GENERATOR), torch.randn(3, generator=GENERATOR)) for _ in range(48)
]
CLASSES = [(inputs, index % 3) for index, (inputs, _) in enumerate(VECTORS)]


def token_model() -> nn.Module:
    return nn.Sequential(nn.Embedding(VOCABULARY, 8), nn.Linear(8, VOCABULARY))


def vector_model(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), *between, nn.Linear(8, 3))


def mean_over_tokens(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=PADDING)


def mean_of_samples(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    losses = functional.cross_entropy(
        logits.transpose(1, 2), labels, ignore_index=PADDING, reduction="none"
    )
    return (losses.sum(1) / (labels != PADDING).sum(1)).mean()


def summed(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=PADDING, reduction="sum"
    )


def contrastive(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(output @ output.T, torch.arange(len(output)))


class FrozenNorm(nn.BatchNorm1d):
    """Stays at its running statistics, as in much fine-tuning."""

    def train(self, mode: bool = True) -> Any:
        return super().train(False)


def _frozen() -> nn.Module:
    return vector_model(FrozenNorm(8).train(), nn.ReLU())


def compare(make_task: Any, model: nn.Module, samples: Any, loss: Any = None) -> AccumulationCheck:
    torch.manual_seed(0)
    task = make_task(model, dataset=samples, loss=loss)
    check = compare_gradients(make_context(task), 16, 4)
    assert check.reason == ""
    return check


CORRECT = {
    "classes": (lambda: vector_model(nn.ReLU()), CLASSES, None),
    "regression with dropout": (lambda: vector_model(nn.Dropout(0.5)), VECTORS, None),
    "tokens of equal number": (token_model, EQUAL, mean_over_tokens),
    "mean of means of samples": (token_model, UNEQUAL, mean_of_samples),
    "sum over tokens": (token_model, UNEQUAL, summed),
    "layer normalization": (lambda: vector_model(nn.LayerNorm(8)), VECTORS, None),
    "frozen BatchNorm": (_frozen, VECTORS, None),
}


@pytest.mark.parametrize("name", CORRECT)
def test_what_is_the_same_in_parts_is_left_alone(name: str, make_task: Any) -> None:
    make, samples, loss = CORRECT[name]
    check = compare(make_task, make(), samples, loss)
    assert check.loss_difference_fraction < 1e-3
    assert find_warnings(check, 4) == []


@pytest.mark.parametrize(
    ("make", "samples", "loss", "code"),
    [
        (token_model, UNEQUAL, mean_over_tokens, WarningCode.ACCUMULATED_LOSS_DIFFERS),
        (vector_model, VECTORS, contrastive, WarningCode.ACCUMULATED_LOSS_DIFFERS),
        (
            lambda: vector_model(nn.BatchNorm1d(8)),
            VECTORS,
            None,
            WarningCode.ACCUMULATED_BATCH_NORM,
        ),
    ],
    ids=["mean of means over unequal tokens", "negatives of the batch", "BatchNorm"],
)
def test_what_is_not_is_named_with_what_to_do(
    make: Any, samples: Any, loss: Any, code: WarningCode, make_task: Any
) -> None:
    (warning,) = find_warnings(compare(make_task, make(), samples, loss), 4)
    assert warning.code is code
    assert 0.02 < warning.figures["difference_fraction"] <= 1
    text = advise(warning).happened
    assert "16 samples in 4 passes" in text
    assert "%" in text


def test_a_trainer_that_weighs_passes_by_their_tokens_is_believed(make_task: Any) -> None:
    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        return mean_over_tokens(model(batch[0]), batch[1])

    task = make_task(token_model(), dataset=UNEQUAL, training_step=step)
    assert compare_gradients(make_context(task), 16, 4).loss_differs
    step.weighs_passes = True  # type: ignore[attr-defined]
    assert not compare_gradients(make_context(task), 16, 4).loss_differs


def test_a_loss_that_draws_more_than_it_differs_is_not_accused(make_task: Any) -> None:
    def noisy(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (output * torch.randn(output.shape)).mean()

    check = compare(make_task, vector_model(), VECTORS, noisy)
    assert check.chance_fraction > 0.1
    assert not check.loss_differs


def test_nothing_is_changed(make_task: Any) -> None:
    model = vector_model(nn.BatchNorm1d(8), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    compare(make_task, model, VECTORS)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(each.grad is None for each in model.parameters())


def test_what_the_users_code_raises_is_a_reason(make_task: Any) -> None:
    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if len(output) < 16:
            raise ValueError("a batch of 16 or nothing")
        return output.mean()

    task = make_task(vector_model(), dataset=VECTORS, loss=loss)
    check = compare_gradients(make_context(task), 16, 4)
    assert check.reason == "ValueError: a batch of 16 or nothing"
    assert find_warnings(check, 4) == []


def test_a_batch_is_split_however_it_is_nested() -> None:
    batch = {
        "images": torch.arange(8),
        "boxes": [torch.zeros(3)] * 8,
        "steps": (torch.zeros(5, 8), torch.zeros(2)),
        "scale": 3.0,
    }
    parts = split_batch(batch, 8, 2)
    assert [part["images"].tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert [len(part["boxes"]) for part in parts] == [4, 4]
    assert parts[0]["steps"][0].shape == (5, 4)
    assert parts[0]["steps"][1].shape == (2,)
    assert parts[1]["scale"] == 3.0
    assert split_batch({"tokens": torch.zeros(30)}, 8, 2) == []


@pytest.mark.parametrize(
    ("size", "steps", "planned"),
    [(64, 8, (16, 4)), (64, 3, (15, 3)), (1, 8, (2, 2)), (6, 4, (4, 4))],
)
def test_a_small_batch_is_compared_in_as_many_passes_as_it_divides_into(
    size: int, steps: int, planned: tuple[int, int]
) -> None:
    job = plan_comparison(size, steps)
    assert (job.batch_size, job.num_passes) == planned


class Prober:
    """Gives one result to every job."""

    def __init__(self, result: AccumulationCheck) -> None:
        self.result = result
        self.asked: list[Any] = []

    def load(self, *, timeout_s: float | None = None) -> Any:
        raise AssertionError

    def run(self, job: Any, *, timeout_s: float | None = None) -> AccumulationCheck:
        self.asked.append(job)
        return self.result


def test_a_finding_with_one_pass_per_step_is_not_looked_at(make_finding: Any) -> None:
    prober, finding = Prober(AccumulationCheck(batch_size=2, num_passes=2)), make_finding()
    assert examine_accumulation(prober, finding) is finding
    assert prober.asked == []


def test_a_finding_with_several_tells_what_was_seen(make_finding: Any, printed: Any) -> None:
    from autobatch.reporting import render

    differs = AccumulationCheck(batch_size=16, num_passes=4, loss_difference_fraction=0.2)
    finding = make_finding(
        recommendation={"gradient_accumulation_steps": 4, "global_batch_size": 1024},
        settings=Settings(gradient_accumulation_steps=4),
    )
    examined = examine_accumulation(Prober(differs), finding)
    assert examined.accumulation is differs
    assert "accumulated passes do not train as one batch does" in printed(render, examined)
    same = examine_accumulation(Prober(AccumulationCheck(batch_size=16, num_passes=4)), finding)
    assert "the same gradient as one batch (16 samples in 4 passes)" in printed(render, same)


def test_a_comparison_that_died_says_of_what() -> None:
    crash = Crash(outcome=Outcome.KILLED, message="ended by SIGKILL")
    check = AccumulationJob(batch_size=4, num_passes=2).from_crash(crash)
    assert (check.reason, check.loss_differs) == ("ended by SIGKILL", False)


def test_a_training_step_that_steps_itself_is_not_compared(make_task: Any) -> None:
    model = vector_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def step(module: nn.Module, batch: Any) -> None:
        optimizer.zero_grad()
        module(batch[0]).mean().backward()
        optimizer.step()

    task = make_task(model, dataset=VECTORS, training_step=step)
    task.loss(model, next(task.source.batches(4)))  # by which it is known
    check = compare_gradients(make_context(task), 16, 4)
    assert check.reason == "the training step makes its own optimizer steps"

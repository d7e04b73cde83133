"""What grows is followed to its end, by arithmetic where time does not allow to run it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from autobatch.records import Outcome, Trial
from autobatch.rehearsal.evaluation import (
    CannotEvaluateError,
    WholeEvaluation,
    find_growth_bytes_per_sample,
)
from autobatch.rehearsal.job import RehearsalJob
from autobatch.rehearsal.soak import Soak
from autobatch.rehearsal.stages import rehearse

MIB = 2**20


class Stage:
    """A stage whose memory is what a function says.

    Args:
        held_mib: MiB that are held now.
        budget_mib: MiB that may be.
    """

    def __init__(self, held_mib: Callable[[], float], budget_mib: int = 1000) -> None:
        self._held_mib, self.budget_bytes = held_mib, budget_mib * MIB
        self.name, self.at_any_size, self.expected_bytes = "", False, 0
        self.left_out: list[str] = []

    def reset_peak(self, *, release: bool = False) -> None:
        pass

    def read(self) -> Trial:
        peak_bytes = round(self._held_mib() * MIB)
        over = peak_bytes > self.budget_bytes
        outcome = Outcome.OVER_BUDGET if over else Outcome.FITS
        self.expect(peak_bytes)
        return Trial(batch_size=1, outcome=outcome, peak_bytes=peak_bytes, message="over" * over)

    def expect(self, peak_bytes: int) -> None:
        self.expected_bytes = max(self.expected_bytes, peak_bytes)


def soak(stage: Callable[[Soak], Stage], epoch_steps: int | None, max_steps: int = 300) -> Any:
    made = Soak(RehearsalJob(batch_size=8, max_steps=max_steps), lambda: None, epoch_steps, float)
    used: Any = stage(made)
    return made.run(used), used


def growing(budget_mib: int) -> Callable[[Soak], Stage]:
    """400 MiB, and one more after each step."""
    return lambda made: Stage(lambda: 400 + made.num_steps, budget_mib)


def test_growth_that_an_epoch_does_not_survive_is_told_with_the_step() -> None:
    reason, stage = soak(growing(budget_mib=1000), epoch_steps=900)
    assert reason == (
        "memory grows by 1.0 MiB a step, beyond the budget of 1000 MiB after about 600 of the "
        "900 steps of an epoch"
    )
    assert stage.expected_bytes == 1300 * MIB


def test_growth_that_an_epoch_survives_is_told_and_passes() -> None:
    reason, stage = soak(growing(budget_mib=2000), epoch_steps=900)
    assert reason == ""
    assert stage.name == "300 shuffled steps (memory grows by 1.0 MiB a step)"
    assert stage.expected_bytes == 1300 * MIB


def test_growth_that_meets_the_budget_ends_the_steps() -> None:
    reason, stage = soak(growing(budget_mib=520), epoch_steps=900)
    assert reason == "over"
    assert stage.name == "150 shuffled steps"


@pytest.mark.parametrize("epoch_steps", [None, 300])
def test_nothing_is_said_of_steps_that_are_not_known_or_have_run(epoch_steps: int | None) -> None:
    assert soak(growing(budget_mib=2000), epoch_steps)[0] == ""


def test_a_level_that_is_reached_once_is_no_growth() -> None:
    reason, stage = soak(lambda made: Stage(lambda: 400 + 100 * (made.num_steps > 50)), 9000)
    assert (reason, stage.name) == ("", "300 shuffled steps")


class Evaluation:
    """An evaluation that keeps so much of each sample, and notes what it was given."""

    def __init__(self, keeps_mib: float) -> None:
        self.keeps_mib, self.batches, self.held_mib = keeps_mib, list[list[float]](), 400.0

    def __call__(self, model: nn.Module, loader: DataLoader[Any]) -> None:
        self.batches = [batch.flatten().tolist() for batch in loader]
        self.held_mib = 400 + self.keeps_mib * sum(map(len, self.batches))


def whole(make_task: Any, evaluation: Any, num_samples: int, max_time_s: float = 30.0) -> Any:
    task = make_task(
        nn.Linear(1, 1),
        dataset=[torch.zeros(1)] * 8,
        evaluate=evaluation,
        eval_loader=DataLoader([torch.full((1,), float(n)) for n in range(num_samples)], 4),
    )
    seconds = itertools.count()  # each evaluation takes a second
    return WholeEvaluation(make_context(task), 2, max_time_s, lambda: float(next(seconds)))


def test_all_samples_are_evaluated_where_time_allows(make_task: Any) -> None:
    evaluation = Evaluation(keeps_mib=1)
    stage: Any = Stage(lambda: evaluation.held_mib)
    assert whole(make_task, evaluation, 101).run(stage) == ""
    assert stage.name == "evaluation of all 101 samples, 2 at a time"
    assert sorted(itertools.chain(*evaluation.batches)) == list(range(101))
    assert {len(batch) for batch in evaluation.batches} == {1, 2}
    assert (stage.left_out, stage.expected_bytes) == ([], 501 * MIB)


def test_what_the_others_would_add_is_told_where_it_does_not(make_task: Any) -> None:
    evaluation = Evaluation(keeps_mib=1)
    stage: Any = Stage(lambda: evaluation.held_mib)
    assert whole(make_task, evaluation, 500, max_time_s=7.0).run(stage) == ""
    assert stage.name == "evaluation of 32 of 500 samples, 2 at a time"
    assert stage.left_out == [
        "the other 468 samples of the evaluation: it keeps 1.0 MiB a sample, 900 MiB with all 500"
    ]
    assert stage.expected_bytes == 900 * MIB


def test_an_evaluation_that_fits_at_no_size_is_told_before_it_has_run(make_task: Any) -> None:
    evaluation = Evaluation(keeps_mib=1)
    stage: Any = Stage(lambda: evaluation.held_mib)
    reason = whole(make_task, evaluation, 5000, max_time_s=7.0).run(stage)
    assert reason == (
        "it keeps 1.0 MiB a sample, 5.3 GiB with all 5,000: more than the budget of 1000 MiB"
    )
    assert stage.at_any_size


def test_what_a_batch_takes_while_it_is_evaluated_speaks_against_this_size_alone(
    make_task: Any,
) -> None:
    evaluation = Evaluation(keeps_mib=1)
    looks = itertools.count()  # the first one is before it
    stage: Any = Stage(lambda: evaluation.held_mib + (next(looks) > 0) * 595)
    assert whole(make_task, evaluation, 500, max_time_s=14.0).run(stage) == "over"
    assert not stage.at_any_size


def test_an_evaluation_that_keeps_nothing_is_not_followed(make_task: Any) -> None:
    evaluation = Evaluation(keeps_mib=0)
    stage: Any = Stage(lambda: evaluation.held_mib)
    assert whole(make_task, evaluation, 5000, max_time_s=7.0).run(stage) == ""
    assert stage.left_out == ["the other 4,968 samples of the evaluation"]


def test_noise_is_no_growth() -> None:
    assert find_growth_bytes_per_sample([(8, 100 * MIB), (16, 103 * MIB)]) == 0
    assert find_growth_bytes_per_sample([(8, 900 * MIB), (16, 908 * MIB)]) == 0
    assert find_growth_bytes_per_sample([(8, 100 * MIB), (16, 108 * MIB)]) == MIB
    assert find_growth_bytes_per_sample([(8, 100 * MIB)]) == 0


def test_the_longest_sample_is_among_the_first(make_task: Any) -> None:
    lengths: list[int] = []

    def evaluate(model: nn.Module, loader: DataLoader[Any]) -> None:
        lengths[:] = [batch.numel() for batch in loader]

    samples = [torch.zeros(1 + 8 * (n == 77)) for n in range(200)]
    task = make_task(
        nn.Linear(1, 1),
        dataset=samples,
        evaluate=evaluate,
        eval_loader=DataLoader(samples, 1),
    )
    stage: Any = Stage(lambda: 400)
    WholeEvaluation(make_context(task), 1, 0.0, lambda: 0.0)._run(4)
    assert lengths[0] == 9
    assert len(lengths) == 4
    assert stage.name == ""


class Endless(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return itertools.repeat(torch.zeros(1))


@pytest.mark.parametrize(
    ("evaluate", "loader", "words"),
    [
        (lambda: None, DataLoader([torch.zeros(1)]), "does not take a model and a loader"),
        (lambda model, loader: None, DataLoader(Endless()), "iterable dataset"),
    ],
)
def test_an_evaluation_that_cannot_be_run_in_parts_says_why(
    make_task: Any, evaluate: Any, loader: Any, words: str
) -> None:
    task = make_task(nn.Linear(1, 1), dataset=[torch.zeros(1)], evaluate=evaluate)
    object.__setattr__(task.workload, "eval_loader", loader)
    with pytest.raises(CannotEvaluateError, match=words):
        WholeEvaluation(make_context(task), 1, 1.0, float)


@pytest.mark.parametrize(
    ("own", "asked", "used"),
    [(3, None, 3), (4, None, 8), (3, 5, 5)],
)
def test_evaluation_has_its_own_batch_size_unless_that_is_the_one_of_training(
    make_task: Any, own: int, asked: int | None, used: int
) -> None:
    samples = [torch.ones(4)] * 64
    task = make_task(
        nn.Linear(4, 3),
        train_loader=DataLoader(samples, 4),
        training_step=lambda model, batch: model(batch).mean(),
        evaluate=lambda model, loader: [model(batch) for batch in loader],
        eval_loader=DataLoader(samples, own),
    )
    job = RehearsalJob(batch_size=8, max_steps=1, eval_batch_size=asked)
    names = [stage.name for stage in rehearse(make_context(task), job).stages]
    assert f"evaluation of all 64 samples, {used} at a time" in names


def test_an_evaluation_that_raises_is_listed_and_a_batch_is_evaluated(make_task: Any) -> None:
    def evaluate(model: nn.Module, loader: DataLoader[Any]) -> None:
        raise KeyError("mine")

    samples = [torch.ones(4)] * 64
    task = make_task(
        nn.Linear(4, 3),
        dataset=samples,
        training_step=lambda model, batch: model(batch).mean(),
        evaluate=evaluate,
        eval_loader=DataLoader(samples, 2),
    )
    told = rehearse(make_context(task), RehearsalJob(batch_size=8, max_steps=1))
    assert "evaluation of a batch" in [stage.name for stage in told.stages]
    (listed,) = [each for each in told.not_rehearsed if "keeps its outputs" in each]
    assert listed.endswith("'evaluate' raised KeyError: 'mine'")
    assert task.model.training

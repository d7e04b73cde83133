"""A trial asks its pace whatever depends on its clock or its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn

from autobatch.finder.plans import FINAL_PLAN
from autobatch.probe.protocol import TimingPlan
from autobatch.probe.trial.run import run_trial
from autobatch.records import Trial

FINAL = replace(FINAL_PLAN, min_steps=2, max_time_s=0.02)


class Leading:
    """Does as it wants, and notes what it decided and where it was careful."""

    num_final_steps = 0

    def __init__(self, count: Callable[[], int]) -> None:
        self.decided: list[int] = []
        self.careful_steps: list[tuple[str, int]] = []
        self.is_training = False
        self._count = count

    def go_on(self, wants: bool) -> bool:
        self.decided.append(wants)
        return wants

    def agree(self, mine: int) -> int:
        assert self.is_training
        self.decided.append(mine)
        return mine

    @contextmanager
    def training(self) -> Iterator[None]:
        self.is_training = True
        yield
        self.is_training = False

    @contextmanager
    def careful(self, part: str = "") -> Iterator[None]:
        before = self._count()
        yield
        self.careful_steps.append((part, self._count() - before))

    def complete(self, trial: Trial) -> Trial:
        return replace(trial, message="complete")


class Following(Leading):
    """Decides as another process did, whatever it wants itself."""

    def __init__(self, count: Callable[[], int], decided: list[int]) -> None:
        super().__init__(count)
        self._left = iter(decided)

    def go_on(self, wants: bool) -> bool:
        return bool(next(self._left))

    def agree(self, mine: int) -> int:
        return next(self._left)

    def is_done(self) -> bool:
        return next(self._left, None) is None


@pytest.fixture
def make_counted(make_task: Any) -> Callable[..., tuple[Any, list[int]]]:
    """A task on samples of these lengths, and the sizes of the batches that it trained on."""

    def make(lengths: list[int]) -> tuple[Any, list[int]]:
        trained: list[int] = []

        def step(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
            trained.append(batch.shape[1])
            return model(batch).mean()

        samples = [torch.ones(length, 4) for length in lengths]
        task = make_task(
            nn.Linear(4, 1),
            dataset=samples,
            collate_fn=lambda batch: nn.utils.rnn.pad_sequence(batch, batch_first=True),
            training_step=step,
        )
        task.source.keep_lengths(task.source.scan(0))
        return task, trained

    return make


@pytest.mark.parametrize("plan", [TimingPlan(max_time_s=0.02), FINAL], ids=["search", "final"])
def test_a_process_that_follows_runs_as_many_steps_whatever_its_samples(
    plan: TimingPlan, make_counted: Callable[..., tuple[Any, list[int]]]
) -> None:
    task, led = make_counted([3, 3, 3, 9])
    leading = Leading(lambda: len(led))
    run_trial(make_context(task, pace=leading), 2, plan)
    task, followed = make_counted([3, 3, 3, 3])
    following = Following(lambda: len(followed), leading.decided)
    trial = run_trial(make_context(task, pace=following), 2, plan)
    assert len(followed) == len(led)
    assert following.is_done()
    assert trial.message == "complete"


def test_first_steps_largest_samples_and_evaluation_are_run_with_care(
    make_counted: Callable[..., tuple[Any, list[int]]],
) -> None:
    task, trained = make_counted([3, 3, 3, 9])
    pace = Leading(lambda: len(trained))
    run_trial(make_context(task, pace=pace), 2, FINAL)
    # An evaluation calls the training step as well, without a backward pass.
    assert pace.careful_steps == [("", 1), ("", 1), ("", 2), ("evaluation", 2)]

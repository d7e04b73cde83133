"""What happens late is run early, in order, and the answer is one that passes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn

from autobatch.errors import WorkloadError
from autobatch.probe.protocol import Crash
from autobatch.records import Finding, Outcome, Rehearsal, RehearsedStage, Settings
from autobatch.rehearsal.examine import find_rehearsed
from autobatch.rehearsal.job import RehearsalJob
from autobatch.rehearsal.stages import rehearse
from autobatch.reporting import render
from autobatch.reporting.verdict import find_verdict

SAMPLES = [(torch.randn(4), torch.randn(3))] * 64
JOB = RehearsalJob(batch_size=8, max_steps=20)


def _names(rehearsal: Rehearsal) -> list[str]:
    return [stage.name for stage in rehearsal.stages]


def test_the_parts_run_in_order_and_what_did_not_run_is_listed(make_task: Any) -> None:
    steps: list[int] = []
    model = nn.Linear(4, 3)

    def own(module: nn.Module, optimizer: Any) -> None:
        steps.append(len(steps))
        optimizer.step()

    task = make_task(model, dataset=SAMPLES, optimizer_step=own)
    told = rehearse(make_context(task), replace(JOB, num_passes=2))
    assert _names(told) == ["20 shuffled steps", "evaluation of a batch", "saving a checkpoint"]
    assert told.passes
    assert len(steps) == 21, "one after saving"
    assert all(stage.peak_bytes for stage in told.stages)
    assert any("callbacks" in each for each in told.not_rehearsed)
    assert any("keeps its outputs" in each for each in told.not_rehearsed)
    assert not any("epoch" in each for each in told.not_rehearsed), "it has 4 steps"
    assert model.weight.grad is None


def test_the_largest_samples_come_first_where_they_differ(make_task: Any) -> None:
    sizes: list[int] = []
    samples = [torch.randn(length, 4) for length in range(1, 33)]

    def step(model: nn.Module, batch: Any) -> torch.Tensor:
        sizes.append(sum(len(each) for each in batch))
        return model(torch.cat(batch)).mean()

    task = make_task(
        nn.Linear(4, 3), dataset=samples, training_step=step, collate_fn=lambda batch: batch
    )
    task.source.keep_lengths(task.source.scan(0))
    told = rehearse(make_context(task), JOB)
    assert _names(told)[0] == "the largest samples by elements"
    assert sizes[0] == max(sizes) == sum(range(25, 33))


def test_a_step_that_fails_late_is_found_and_nothing_runs_after_it(make_task: Any) -> None:
    count: list[int] = []

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        count.append(1)
        if len(count) == 15:  # as the averaged weights that are made then
            raise MemoryError("no room for a copy")
        return output.mean()

    task = make_task(nn.Linear(4, 3), dataset=SAMPLES, loss=loss)
    told = rehearse(make_context(task), JOB)
    assert _names(told) == ["14 shuffled steps"]
    assert told.reason == "14 shuffled steps: no room for a copy"
    assert any("of an epoch" in each or "callbacks" in each for each in told.not_rehearsed)


def test_a_metric_that_grows_passes_the_budget_in_the_soak(make_task: Any) -> None:
    kept: list[torch.Tensor] = []

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        kept.append(torch.ones(2**21))  # 8 MiB a step
        return output.mean()

    task = make_task(nn.Linear(4, 3), dataset=SAMPLES, loss=loss)
    context = make_context(task)
    context.device.reset_peak()
    now_bytes = context.device.read_peak().peak_bytes
    tight = make_context(task, budget_bytes=now_bytes + 60 * 2**20)
    told = rehearse(tight, replace(JOB, max_steps=200))
    assert not told.passes
    assert len(kept) < 200
    assert told.stages[-1].name.endswith("shuffled steps")
    kept.clear()


def test_saving_that_needs_memory_of_its_own_is_a_part(
    make_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Linear(4, 3)
    copied = torch.OutOfMemoryError("no room to gather the state")
    monkeypatch.setattr(model, "state_dict", lambda: (_ for _ in ()).throw(copied))
    told = rehearse(make_context(make_task(model, dataset=SAMPLES)), JOB)
    assert told.reason == "saving a checkpoint: no room to gather the state"


def test_what_a_checkpoint_leaves_behind_is_there_in_the_step_after_it(make_task: Any) -> None:
    class KeepsCopies(nn.Linear):
        def state_dict(self, *arguments: Any, **keywords: Any) -> Any:
            raise_later.append(True)
            return super().state_dict(*arguments, **keywords)

    raise_later: list[bool] = []

    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        if raise_later:
            raise MemoryError("no room beside the copy")
        return output.mean()

    told = rehearse(make_context(make_task(KeepsCopies(4, 3), dataset=SAMPLES, loss=loss)), JOB)
    assert told.reason == "saving a checkpoint: no room beside the copy"


def test_time_ends_the_steps_and_the_rest_of_the_epoch_is_listed(make_task: Any) -> None:
    clock = iter(range(0, 10_000, 10))
    task = make_task(nn.Linear(4, 3), dataset=SAMPLES * 10)
    told = rehearse(make_context(task), replace(JOB, max_time_s=35.0), lambda: next(clock))
    assert _names(told)[0] == "4 shuffled steps"
    assert "the rest of an epoch of 80 steps" in told.not_rehearsed


def test_any_other_error_is_the_users_own(make_task: Any) -> None:
    def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        raise IndexError("mine")

    with pytest.raises(IndexError, match="mine"):
        rehearse(make_context(make_task(nn.Linear(4, 3), dataset=SAMPLES, loss=loss)), JOB)


class Prober:
    """Sizes up to one pass their rehearsal."""

    def __init__(self, largest: int) -> None:
        self.largest = largest
        self.asked: list[RehearsalJob] = []

    def load(self, *, timeout_s: float | None = None) -> Any:
        raise AssertionError

    def run(self, job: Any, *, timeout_s: float | None = None) -> Any:
        self.asked.append(job)
        if job.batch_size > self.largest:
            crash = Crash(outcome=Outcome.OVER_BUDGET, message="ended for its memory")
            return job.from_crash(crash)
        stage = RehearsedStage(name="300 shuffled steps", fits=True, peak_bytes=2**30)
        return Rehearsal(batch_size=job.batch_size, stages=(stage,), not_rehearsed=("callbacks",))


@pytest.fixture
def search(make_finding: Any, make_trial: Any) -> Any:
    """The largest power of two up to the cap, up to 256."""

    def run(asked: Settings) -> Finding:
        sizes = [2**power for power in range(9) if 2**power <= (asked.max_batch_size or 256)]
        trials = tuple(make_trial(size) for size in sizes)
        return make_finding(trials, settings=asked, recommendation={"batch_size": sizes[-1]})

    return run


def test_a_size_that_does_not_pass_is_stepped_down_from_with_the_reason(
    search: Any, printed: Any
) -> None:
    prober, asked = Prober(largest=64), Settings(rehearse=True, gradient_accumulation_steps=2)
    finding = find_rehearsed(prober, asked, search)
    assert [(job.batch_size, job.num_passes) for job in prober.asked] == [
        (256, 2),
        (128, 2),
        (64, 2),
    ]
    assert (finding.batch_size, finding.settings) == (64, asked)
    assert finding.rehearsal is not None
    assert finding.rehearsal.refused == (
        "256: the rehearsal: ended for its memory",
        "128: the rehearsal: ended for its memory",
    )
    assert "larger sizes did not pass their rehearsal" in find_verdict(finding).claim
    text = " ".join(printed(render, finding).split())
    assert "rehearsed 300 shuffled steps; peak 1.0 GiB" in text
    assert "not rehearsed callbacks" in text
    assert "stepped down from 256: the rehearsal: ended for its memory" in text


def test_where_no_smaller_size_can_pass_none_is_tried(
    search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prober = Prober(largest=0)
    stage = RehearsedStage(
        name="evaluation of all 9 samples", fits=False, message="too much", at_any_size=True
    )

    def run(job: Any, *, timeout_s: float | None = None) -> Any:
        prober.asked.append(job)
        return Rehearsal(batch_size=job.batch_size, stages=(stage,))

    monkeypatch.setattr(prober, "run", run)
    finding = find_rehearsed(prober, Settings(rehearse=True), search)
    assert (finding.batch_size, len(prober.asked)) == (256, 1)
    assert "keep less" in find_verdict(finding).following


def test_where_nothing_smaller_has_run_it_is_said_that_nothing_passed(search: Any) -> None:
    asked = Settings(rehearse=True, max_batch_size=1)
    finding = find_rehearsed(Prober(largest=0), asked, search)
    assert finding.batch_size == 1
    assert finding.rehearsal is not None
    assert not finding.rehearsal.passes
    verdict = find_verdict(finding)
    assert "it did not pass its rehearsal" in verdict.claim
    assert "what the rehearsal says" in verdict.following


def test_an_error_of_the_users_code_keeps_the_answer_and_is_told(
    search: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prober = Prober(largest=256)

    def run(job: Any, *, timeout_s: float | None = None) -> Any:
        raise WorkloadError("IndexError while the training was rehearsed: mine")

    monkeypatch.setattr(prober, "run", run)
    finding = find_rehearsed(prober, Settings(rehearse=True), search)
    assert finding.batch_size == 256
    assert finding.rehearsal is not None
    assert finding.rehearsal.reason.endswith("while the training was rehearsed: mine")


def test_nothing_is_rehearsed_unless_it_is_asked_for(search: Any) -> None:
    prober = Prober(largest=64)
    assert find_rehearsed(prober, Settings(), search).rehearsal is None
    assert prober.asked == []

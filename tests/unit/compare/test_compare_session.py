"""A comparison from end to end, on a trainer whose losses are a formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autobatch.compare.jobs import SplitJob, TrainJob, TrainReply
from autobatch.compare.records import (
    CompareSettings,
    Comparison,
    EpochResult,
    RunOutcome,
    TrainingRun,
    epochs_to_loss,
)
from autobatch.compare.session import compare
from autobatch.errors import ComparisonInterrupted, ResultFormatError, SettingsError
from autobatch.probe.protocol import Loaded
from autobatch.records import Settings
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload


class FormulaTrainer:
    """Loss ``1 / (1 + iterations)``, a millisecond per iteration and one per 64 samples."""

    def __init__(self, num_samples: int | None = 640, **ends: TrainReply) -> None:
        self.num_samples = num_samples
        self.jobs: list[TrainJob] = []
        self.ends = ends
        self.interrupt_after: int | None = None

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        workload = SimulatedWorkload.linear(dataset_size=800)
        return SimulatedProber(workload, SimulatedDevice(2**34)).load()

    def run(self, job: Any, *, timeout_s: float | None = None) -> Any:
        return self.num_samples if isinstance(job, SplitJob) else self.train(job)

    def train(self, job: TrainJob) -> TrainReply:
        if self.interrupt_after is not None and len(self.jobs) >= self.interrupt_after:
            raise KeyboardInterrupt
        self.jobs.append(job)
        size = job.batch_size or self.num_samples or 1
        if f"b{size}" in self.ends:
            return self.ends[f"b{size}"]
        steps = -(-(self.num_samples or 640) // size)
        numbers = range(job.num_epochs_done, min(job.num_epochs, job.num_epochs_done + 2))
        return TrainReply(
            outcome=RunOutcome.UNFINISHED,
            epochs=tuple(
                EpochResult(
                    num_iterations=steps,
                    time_s=1e-3 * steps * (1 + size / 64),
                    train_loss=2 / (1 + steps * (number + 1)),
                    validation_loss=1 / (1 + steps * (number + 1)),
                    loss_noise=1 / size,
                )
                for number in numbers
            ),
            iterations=tuple(range(1, steps * len(numbers) + 1)),
            losses=(0.5,) * (steps * len(numbers)),
            learning_rate=0.1,
            peak_bytes=size,
        )


def run(trainer: FormulaTrainer, previous: Comparison | None = None, **asked: Any) -> Comparison:
    asked = {"batch_sizes": (1, 32, 256, None), "num_epochs": 6, **asked}
    return compare(
        trainer, Settings(), CompareSettings(**asked), target="formula", previous=previous
    )


def by_size(comparison: Comparison) -> dict[int, TrainingRun]:
    return {each.batch_size: each for each in comparison.runs}


def test_every_size_is_trained_to_the_end_and_one_is_chosen() -> None:
    comparison = run(FormulaTrainer())
    assert list(by_size(comparison)) == [1, 32, 256, 640]
    assert {each.outcome for each in comparison.runs} == {RunOutcome.FINISHED}
    assert comparison.batch_size == 1
    assert comparison.is_complete
    full = by_size(comparison)[640]
    assert full.is_full_batch
    assert [epoch.num_iterations for epoch in full.epochs] == [1] * 6


def test_iterations_are_counted_through_all_slices() -> None:
    comparison = run(FormulaTrainer())
    small = by_size(comparison)[32]
    assert small.iterations == tuple(range(1, 121))
    assert sum(epoch.num_iterations for epoch in small.epochs) == 120


def test_every_run_begins_with_the_same_weights_and_goes_on_with_its_own() -> None:
    trainer = FormulaTrainer()
    run(trainer)
    assert len({job.initial_path for job in trainer.jobs}) == 1
    assert len({job.state_path for job in trainer.jobs}) == 4
    for size in (1, 32, 256, None):
        mine = [each.num_epochs_done for each in trainer.jobs if each.batch_size == size]
        assert mine == [0, 2, 4]
    assert not Path(trainer.jobs[0].initial_path).parent.exists()


def test_the_learning_rate_follows_the_rule() -> None:
    trainer = FormulaTrainer()
    asked = CompareSettings(batch_sizes=(16, 64), num_epochs=1)
    compare(trainer, Settings(base_batch_size=32, learning_rate=0.2), asked, target="formula")
    assert [each.rate_multiplier for each in trainer.jobs] == [0.5, 2]
    assert {each.learning_rate for each in trainer.jobs} == {0.2}


def test_a_run_that_ends_badly_is_reported_and_the_others_go_on() -> None:
    trainer = FormulaTrainer(
        b32=TrainReply(outcome=RunOutcome.DIVERGED, message="the loss is nan"),
        b256=TrainReply(outcome=RunOutcome.OUT_OF_MEMORY, message="no memory"),
    )
    runs = by_size(run(trainer))
    assert runs[32].outcome is RunOutcome.DIVERGED
    assert runs[32].message == "the loss is nan"
    assert runs[256].outcome is RunOutcome.OUT_OF_MEMORY
    assert runs[1].outcome is runs[640].outcome is RunOutcome.FINISHED


def test_where_nothing_is_trained_nothing_is_chosen() -> None:
    trainer = FormulaTrainer(b1=TrainReply(outcome=RunOutcome.FAILED, message="broken"))
    comparison = run(trainer, batch_sizes=(1,))
    assert comparison.batch_size is None
    assert "no size was trained" in comparison.reason


def test_a_run_ends_where_it_reaches_the_target_if_that_is_asked() -> None:
    # The loss of 1 / (1 + iterations) is 0.02 after 49: 640, 20, 3 and 1 in an epoch.
    asked: dict[str, Any] = {"target_loss": 0.02, "num_epochs": 20}
    stopped = run(FormulaTrainer(), stop_at_target=True, **asked)
    whole = run(FormulaTrainer(), **asked)
    epochs = {each.batch_size: len(each.epochs) for each in stopped.runs}
    assert epochs == {1: 2, 32: 4, 256: 18, 640: 20}, "a slice of the trainer has two epochs"
    assert {each.outcome for each in stopped.runs} == {RunOutcome.FINISHED}
    for a, b in zip(stopped.runs, whole.runs, strict=True):
        assert epochs_to_loss(a.epochs, 0.02) == epochs_to_loss(b.epochs, 0.02)
    assert stopped.batch_size == whole.batch_size


def test_the_loss_to_stop_at_is_handed_on_only_if_asked() -> None:
    for stop_at_target, handed_on in ((True, 0.02), (False, None)):
        trainer = FormulaTrainer()
        run(trainer, target_loss=0.02, stop_at_target=stop_at_target)
        assert {job.stop_at_loss for job in trainer.jobs} == {handed_on}


def test_an_interruption_keeps_what_was_done_and_resuming_trains_the_rest() -> None:
    trainer = FormulaTrainer()
    trainer.interrupt_after = 5
    with pytest.raises(ComparisonInterrupted) as raised:
        run(trainer)
    kept = raised.value.comparison
    assert [each.outcome for each in kept.runs][:2] == [RunOutcome.FINISHED, RunOutcome.UNFINISHED]
    assert not kept.is_complete
    assert kept.batch_size == 1
    again = FormulaTrainer()
    comparison = run(again, previous=kept)
    assert 1 not in {job.batch_size for job in again.jobs}
    assert comparison == run(FormulaTrainer())


def test_an_interruption_before_the_first_epoch_is_only_that() -> None:
    trainer = FormulaTrainer()
    trainer.interrupt_after = 0
    with pytest.raises(KeyboardInterrupt) as raised:
        run(trainer)
    assert not isinstance(raised.value, ComparisonInterrupted)


def test_a_comparison_of_something_else_is_not_gone_on_with() -> None:
    previous = run(FormulaTrainer(), num_epochs=3)
    with pytest.raises(ResultFormatError, match="other sizes, epochs"):
        run(FormulaTrainer(), previous=previous)


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ((32, 640, None), "640 and full"),
        ((1000, 5000), "1000 and 5000"),
        ((640, 800), "640 and 800"),
    ],
)
def test_sizes_that_come_to_the_same_are_refused(sizes: tuple[int | None, ...], named: str) -> None:
    with pytest.raises(SettingsError, match=f"batch sizes {named}.*640 samples"):
        run(FormulaTrainer(), batch_sizes=sizes)


def test_one_size_beyond_the_data_is_full_batch() -> None:
    comparison = run(FormulaTrainer(), batch_sizes=(32, 5000))
    assert by_size(comparison)[640].is_full_batch


def test_full_without_a_length_is_refused() -> None:
    with pytest.raises(SettingsError, match="'full' of an iterable"):
        run(FormulaTrainer(num_samples=None))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_sizes": ()}, "`batch_sizes` must be"),
        ({"batch_sizes": (8, 8)}, "a size twice"),
        ({"batch_sizes": (None, None)}, "a size twice"),
        ({"batch_sizes": (8,), "num_epochs": 0}, "`epochs` must be a whole number above 0, got 0"),
        ({"batch_sizes": (8,), "validation_fraction": 1.0}, "`validation` must be .* got 1.0"),
        ({"batch_sizes": (8,), "stop_at_target": True}, "`stop_at_target` needs `target_loss`"),
    ],
)
def test_what_cannot_be_compared_is_refused(fields: Any, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        CompareSettings(**fields)

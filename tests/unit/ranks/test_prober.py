"""The leader: what a group's trial is, and what becomes of one whose rank fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autobatch.errors import NothingFitsError, WorkerError, WorkloadError
from autobatch.finder import find
from autobatch.probe.protocol import Crash, Failure, Reply, TimingPlan, TrialReply
from autobatch.ranks.control import Cause
from autobatch.ranks.launch import WorkerEnded
from autobatch.ranks.merge import STOPPED, WAITED
from autobatch.ranks.prober import GroupProber
from autobatch.ranks.requests import RankTrialRequest
from autobatch.records import Goal, Outcome, Settings, Trial
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

GIB = 2**30
STOPPED_FOR_IT = Failure(error=STOPPED, message="stopped")
WAITED_FOR_IT = Failure(error=WAITED, message="it was at train.py:3 in step")


class SimulatedRanks:
    """Ranks with memory and speed of their own, and what some trials end in instead."""

    def __init__(self, *capacities: int) -> None:
        workload = SimulatedWorkload.linear(dataset_size=4096)
        self.probers = [SimulatedProber(workload, SimulatedDevice(each)) for each in capacities]
        self.num_ranks = len(capacities)
        self.log: list[str] = []
        self.instead: Callable[[RankTrialRequest], Any] = lambda request: None

    def start(self) -> None:
        self.log.append("start")

    def load(self, number: int, timeout_s: float | None) -> list[Reply]:
        self.log.append("load")
        return [each.load() for each in self.probers]

    def measure(self, request: RankTrialRequest, timeout_s: float | None) -> list[Reply]:
        self.log.append("measure")
        instead = self.instead(request)
        if isinstance(instead, Exception):
            raise instead
        trials = [each.measure(request.batch_size, request.plan) for each in self.probers]
        return instead or [TrialReply(trial=trial) for trial in trials]

    def find_first_failure(self, number: int) -> None:
        return None

    def end(self) -> None:
        self.log.append("end")


@pytest.fixture
def ranks() -> SimulatedRanks:
    return SimulatedRanks(8 * GIB, 8 * GIB)


def measure(ranks: SimulatedRanks, batch_size: int = 8, **limits: Any) -> Trial:
    prober = GroupProber(ranks)
    with prober:
        prober.load()
        return prober.measure(batch_size, TimingPlan(), **limits)


def test_one_size_for_all_is_bound_by_the_rank_with_the_least_memory() -> None:
    found = []
    for capacities in ((8 * GIB, 8 * GIB), (8 * GIB, 2 * GIB), (2 * GIB, 2 * GIB)):
        with GroupProber(SimulatedRanks(*capacities)) as prober:
            settings = Settings(goal=Goal.MEMORY, num_devices=2)
            found.append(find(prober, settings, target="it").batch_size)
    assert found[0] > found[1] == found[2]


def test_a_failure_names_its_rank_and_its_own_cause(ranks: SimulatedRanks) -> None:
    too_large = Trial(
        batch_size=8, outcome=Outcome.OUT_OF_MEMORY, message="you tried", peak_bytes=7
    )
    ranks.instead = lambda request: [STOPPED_FOR_IT, TrialReply(trial=too_large)]
    trial = measure(ranks)
    assert (trial.outcome, trial.message) == (Outcome.OUT_OF_MEMORY, "rank 1: you tried")
    assert [each.peak_bytes for each in trial.ranks] == [None, 7]


def test_a_killed_child_is_an_outcome(ranks: SimulatedRanks) -> None:
    killed = Crash(outcome=Outcome.KILLED, message="ended by SIGKILL")
    ranks.instead = lambda request: [killed, STOPPED_FOR_IT]
    trial = measure(ranks)
    assert (trial.outcome, trial.message) == (Outcome.KILLED, "rank 0: ended by SIGKILL")


def test_an_exception_above_the_smallest_size_is_an_outcome(ranks: SimulatedRanks) -> None:
    raised = Failure(error="WorkloadError", message="long", cause="ValueError: a bug")
    ranks.instead = lambda request: [STOPPED_FOR_IT, raised]
    trial = measure(ranks)
    assert (trial.outcome, trial.message) == (Outcome.FAILED, "rank 1: ValueError: a bug")
    with pytest.raises(WorkloadError, match="rank 1: long"):
        measure(ranks, batch_size=1)


def test_ranks_that_all_wait_have_timed_out(ranks: SimulatedRanks) -> None:
    ranks.instead = lambda request: [WAITED_FOR_IT, WAITED_FOR_IT]
    trial = measure(ranks, timeout_s=4.0)
    assert trial.outcome is Outcome.TIMED_OUT
    assert trial.batch_size == 8
    assert "all wait" in trial.message


def test_a_worker_that_ends_is_replaced_and_the_size_runs_again(ranks: SimulatedRanks) -> None:
    dead = [WorkerEnded(1, "its worker ended with exit status -9", -9, "")]
    ranks.instead = lambda request: dead.pop() if dead else None
    assert measure(ranks).fits
    assert ranks.log == [
        "start", "load", "measure", "end", "start", "load", "measure", "end",
    ]  # fmt: skip


def test_a_worker_that_ends_twice_is_the_outcome_of_the_size(ranks: SimulatedRanks) -> None:
    ranks.instead = lambda request: WorkerEnded(1, "its worker ended", -9, "")
    trial = measure(ranks)
    assert (trial.outcome, trial.message) == (Outcome.KILLED, "rank 1: its worker ended")
    assert ranks.log.count("measure") == 2


def test_a_worker_that_does_not_answer_is_not_waited_for_twice(ranks: SimulatedRanks) -> None:
    ranks.instead = lambda request: WorkerEnded(1, "its worker does not answer", None, "")
    trial = measure(ranks, timeout_s=4.0)
    assert trial.outcome is Outcome.TIMED_OUT
    assert "rank 1: its worker does not answer" in trial.message
    assert ranks.log.count("measure") == 1


def test_a_first_step_that_does_not_fit_names_its_rank(ranks: SimulatedRanks) -> None:
    def load(number: int, timeout_s: float | None) -> list[Reply]:
        return [STOPPED_FOR_IT, ranks.probers[1].load()]

    ranks.load = load  # type: ignore[method-assign]
    ranks.find_first_failure = lambda number: Cause(1, "MemoryError")  # type: ignore
    with pytest.raises(NothingFitsError, match="rank 1: MemoryError"):
        measure(ranks)


def test_a_worker_that_ends_while_it_loads_is_an_error(ranks: SimulatedRanks) -> None:
    def load(number: int, timeout_s: float | None) -> list[Reply]:
        raise WorkerEnded(1, "its worker ended with exit status 1", 1, "a traceback")

    ranks.load = load  # type: ignore[method-assign]
    with (
        pytest.raises(WorkerError, match="rank 1: its worker ended") as raised,
        GroupProber(ranks) as prober,
    ):
        prober.load()
    assert raised.value.stderr_tail == "a traceback"
    assert ranks.log[-1] == "end"

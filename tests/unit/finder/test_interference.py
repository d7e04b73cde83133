"""What strikes a search from outside costs as little of its answer as can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from autobatch.errors import NothingFitsError, SearchInterrupted, WorkerError
from autobatch.finder import find
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Goal, Outcome, Phase, Settings, SilentObserver, StopReason, Trial
from autobatch.reporting.document import FINDING
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

GIB = 2**30
WORKLOAD = SimulatedWorkload.linear(fixed_bytes=GIB, per_sample_bytes=2**20, per_sample_s=1e-6)


class StruckProber(SimulatedProber):
    """Some of its runs are killed, by their place in the order of all runs of a size."""

    def __init__(self, settings: Settings, is_killed: Callable[[int, int], bool]) -> None:
        super().__init__(WORKLOAD, SimulatedDevice(10 * GIB), settings)
        self._is_killed = is_killed
        self.num_runs: dict[int, int] = {}

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        self.num_runs[batch_size] = self.num_runs.get(batch_size, 0) + 1
        if self._is_killed(batch_size, self.num_runs[batch_size]):
            return Trial(batch_size=batch_size, outcome=Outcome.KILLED)
        return super().measure(batch_size, plan, timeout_s=timeout_s)


def test_one_kill_of_the_smallest_size_is_not_the_end() -> None:
    prober = StruckProber(Settings(), lambda size, run: (size, run) == (1, 1))
    finding = find(prober, Settings(), target="simulated", clock=prober.clock)
    assert all(trial.fits for trial in finding.trials)


def test_a_smallest_size_that_is_killed_twice_does_not_fit() -> None:
    prober = StruckProber(Settings(), lambda size, run: size == 1)
    with pytest.raises(NothingFitsError):
        find(prober, Settings(), target="simulated", clock=prober.clock)
    assert prober.num_runs == {1: 2}


def test_one_kill_of_the_answer_at_its_confirmation_leaves_it_the_answer() -> None:
    asked = Settings(goal=Goal.MEMORY)
    prober = StruckProber(asked, lambda size, run: size > 64 or (size, run) == (64, 2))
    finding = find(prober, asked, target="simulated", clock=prober.clock)
    assert finding.batch_size == 64
    assert finding.confirmation is not None
    assert prober.num_runs[64] == 3


def test_after_an_answer_that_does_not_hold_the_sizes_jumped_over_are_tried() -> None:
    asked = Settings(goal=Goal.MEMORY)
    prober = StruckProber(asked, lambda size, run: size > 64 or (size == 64 and run > 1))
    finding = find(prober, asked, target="simulated", clock=prober.clock)
    assert finding.batch_size == 32
    assert finding.confirmation is not None
    assert finding.confirmation.batch_size == 32


def test_a_larger_size_that_is_killed_is_not_tried_again() -> None:
    asked = Settings(goal=Goal.MEMORY, max_batch_size=64)
    prober = StruckProber(asked, lambda size, run: size == 64)
    finding = find(prober, asked, target="simulated", clock=prober.clock)
    assert finding.batch_size == 32
    assert prober.num_runs[64] == 1


def test_a_divisor_of_the_global_batch_that_fails_takes_the_larger_sizes_along() -> None:
    asked = Settings(global_batch_size=3 * 4096)
    workload = replace(WORKLOAD, outcomes={6144: Outcome.KILLED})
    prober = SimulatedProber(workload, SimulatedDevice(10 * GIB), asked)
    finding = find(prober, asked, target="simulated", clock=prober.clock)
    assert finding.batch_size == 4096
    assert FINDING.find_fault(finding) is None


def test_a_divisor_below_all_other_sizes_that_fails_leaves_nothing() -> None:
    asked = Settings(min_batch_size=8, max_batch_size=8, global_batch_size=12)
    workload = replace(WORKLOAD, outcomes={6: Outcome.KILLED})
    prober = SimulatedProber(workload, SimulatedDevice(10 * GIB), asked)
    with pytest.raises(NothingFitsError):
        find(prober, asked, target="simulated", clock=prober.clock)


def test_ctrl_c_after_the_last_trial_keeps_the_answer() -> None:
    prober = SimulatedProber(WORKLOAD, SimulatedDevice(10 * GIB))
    late = Late()

    def clock() -> float:
        if late.is_confirmed and not late.was_struck:
            late.was_struck = True
            raise KeyboardInterrupt
        return prober.clock()

    with pytest.raises(SearchInterrupted) as caught:
        find(prober, Settings(), target="simulated", observer=late, clock=clock)
    assert caught.value.finding.stop_reason is StopReason.INTERRUPTED
    assert caught.value.finding.confirmation is not None


class DyingProber(SimulatedProber):
    """Its worker dies at a size, and starting another takes a while."""

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        if batch_size == 8:
            self.elapsed_s += 20.0
            raise WorkerError("loading took more than 10 s")
        return super().measure(batch_size, plan, timeout_s=timeout_s)


@pytest.mark.parametrize("time_limit_s", [15.0, 100.0])
def test_a_worker_that_is_not_back_in_time_costs_no_answer(time_limit_s: float) -> None:
    asked = Settings(time_limit_s=time_limit_s)
    prober = DyingProber(WORKLOAD, SimulatedDevice(10 * GIB), asked)
    if time_limit_s > 20.0:
        with pytest.raises(WorkerError) as caught:
            find(prober, asked, target="simulated", clock=prober.clock)
        assert [trial.batch_size for trial in caught.value.trials] == [1, 2, 4]
    else:
        finding = find(prober, asked, target="simulated", clock=prober.clock)
        assert finding.batch_size in (1, 2, 4)
        assert finding.stop_reason is StopReason.TIME_LIMIT


class Late(SilentObserver):
    """Knows when the last trial has ended."""

    is_confirmed = False
    was_struck = False

    def trial_finished(self, trial: Trial, phase: Phase) -> None:
        self.is_confirmed = self.is_confirmed or phase is Phase.CONFIRMATION

"""The answer holds at the end of the search, with the memory that there is by then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autobatch.errors import NothingFitsError, WorkloadError
from autobatch.finder import find
from autobatch.probe.protocol import Loaded, TimingPlan
from autobatch.records import (
    Finding,
    Goal,
    Outcome,
    Phase,
    Settings,
    SilentObserver,
    StopReason,
    Trial,
    WarningCode,
)
from autobatch.reporting import advise
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

GIB = 2**30
WORKLOAD = SimulatedWorkload.linear(fixed_bytes=GIB, per_sample_bytes=2**20, per_sample_s=1e-6)


class Neighbour(SilentObserver):
    """A second process that takes memory once a size has run."""

    def __init__(self, device: SimulatedDevice, *, after: int, takes_bytes: int) -> None:
        self._device, self._after, self._takes_bytes = device, after, takes_bytes
        self.confirmed: list[tuple[int, bool]] = []

    def trial_finished(self, trial: Trial, phase: Phase) -> None:
        if phase is Phase.CONFIRMATION:
            self.confirmed.append((trial.batch_size, trial.fits))
        elif trial.batch_size >= self._after:
            self._device.used_by_others_bytes = self._takes_bytes


def search(neighbour_takes_bytes: int) -> tuple[Finding, Neighbour]:
    asked = Settings(goal=Goal.MEMORY, grid_multiple=1024)  # no size is known to be the last one
    device = SimulatedDevice(10 * GIB)
    prober = SimulatedProber(WORKLOAD, device, asked)
    neighbour = Neighbour(device, after=8192, takes_bytes=neighbour_takes_bytes)
    finding = find(prober, asked, target="simulated", observer=neighbour, clock=prober.clock)
    return finding, neighbour


def test_the_chosen_size_is_run_last_and_longer() -> None:
    prober = SimulatedProber(WORKLOAD, SimulatedDevice(10 * GIB))
    finding = find(prober, Settings(), target="simulated", clock=prober.clock)
    assert prober.runs[-1][0] == finding.batch_size
    assert finding.confirmation is not None
    assert finding.confirmation.batch_size == finding.batch_size
    assert finding.confirmation.num_steps >= 30
    assert finding.confirmation.peak_bytes == WORKLOAD.peak_bytes(finding.batch_size)


def test_memory_that_the_headroom_covers_changes_nothing() -> None:
    finding, neighbour = search(GIB // 2)
    assert neighbour.confirmed == [(8192, True)]
    assert finding.batch_size == 8192


def test_an_answer_that_no_longer_holds_is_stepped_down_until_one_does() -> None:
    before, _ = search(0)
    finding, neighbour = search(7 * GIB)
    assert finding.batch_size < before.batch_size
    assert WORKLOAD.peak_bytes(finding.batch_size) <= 3 * GIB
    assert neighbour.confirmed[0] == (before.batch_size, False)
    assert neighbour.confirmed[-1] == (finding.batch_size, True)
    assert finding.recommendation.largest_batch_size == finding.batch_size
    assert finding.recommendation.largest_was_run


def test_a_neighbour_that_takes_everything_leaves_nothing_to_recommend() -> None:
    with pytest.raises(NothingFitsError) as caught:
        search(10 * GIB)
    assert caught.value.trials


def test_a_time_limit_that_leaves_no_room_for_it_is_said() -> None:
    asked = Settings(time_limit_s=20)
    slow = SimulatedWorkload.linear(latency_s=1.0)
    prober = SimulatedProber(slow, SimulatedDevice(10 * GIB), asked)
    finding = find(prober, asked, target="simulated", clock=prober.clock)
    assert finding.confirmation is None
    assert WarningCode.NOT_CONFIRMED in {warning.code for warning in finding.warnings}


@pytest.mark.parametrize("time_limit_s", [8.0, 12.0, 20.0, 30.0])
def test_timing_in_turn_leaves_time_for_the_final_run(time_limit_s: float) -> None:
    asked = Settings(time_limit_s=time_limit_s, dataset_size=2048)
    noisy = SimulatedWorkload.linear(
        latency_s=1e-3, per_sample_s=1e-5, noise_fraction=0.3, drift_fraction=0.1, dataset_size=2048
    )
    for seed in range(10):
        prober = SimulatedProber(noisy, SimulatedDevice(10 * GIB), asked, seed=seed)
        finding = find(prober, asked, target="simulated", clock=prober.clock)
        assert finding.confirmation is not None
        assert finding.search_time_s <= time_limit_s


def broken_at(*sizes: int) -> SimulatedProber:
    workload = SimulatedWorkload(
        peak_bytes=lambda size: 2**20 * size,
        step_time_s=lambda size: 1e-3,
        broken_sizes=frozenset(sizes),
    )
    return SimulatedProber(workload, SimulatedDevice(GIB))


@pytest.mark.parametrize("goal", [Goal.THROUGHPUT, Goal.MEMORY])
def test_a_large_size_that_raises_ends_the_climb_and_the_smaller_ones_answer(goal: Goal) -> None:
    prober = broken_at(*range(64, 2048))
    finding = find(prober, Settings(goal=goal), target="simulated", clock=prober.clock)
    recommendation = finding.recommendation
    assert (finding.batch_size, recommendation.largest_batch_size) == (32, 32)
    assert not recommendation.largest_is_lower_bound
    assert finding.stop_reason is StopReason.FAILED
    failed = {trial.batch_size for trial in finding.trials if trial.outcome is Outcome.FAILED}
    assert min(failed) == 64
    warning = next(each for each in finding.warnings if each.code is WarningCode.TRIAL_FAILED)
    assert warning.figures == {"batch_size": 64}
    assert warning.details == ("RuntimeError: broken",)


def test_an_error_at_the_smallest_size_is_the_users_own() -> None:
    prober = broken_at(1, 2, 4)
    with pytest.raises(WorkloadError, match="RuntimeError in a trial at batch size 1: broken"):
        find(prober, Settings(), target="simulated", clock=prober.clock)


class BrokenInTheEnd(SimulatedProber):
    """The final run raises, at the smallest size."""

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        if plan.is_confirmation:
            raise WorkloadError("broken in the end")
        return super().measure(batch_size, plan, timeout_s=timeout_s)


def test_an_error_in_the_middle_carries_the_trials_before_it() -> None:
    prober = BrokenInTheEnd(WORKLOAD, SimulatedDevice(10 * GIB))
    with pytest.raises(WorkloadError) as caught:
        find(prober, Settings(max_batch_size=4), target="simulated", clock=prober.clock)
    assert [trial.batch_size for trial in caught.value.trials] == [1, 2, 4]


class Compiling(SimulatedProber):
    """The final run compiles, which takes a GiB more."""

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        loaded = super().load(timeout_s=timeout_s)
        return replace(loaded, workload=replace(loaded.workload, is_compiled=True))

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        trial = super().measure(batch_size, plan, timeout_s=timeout_s)
        more_bytes = GIB if plan.is_confirmation else 0
        return replace(trial, peak_bytes=(trial.peak_bytes or 0) + more_bytes)


def test_what_compiling_takes_is_on_no_line_with_the_eager_peaks() -> None:
    prober = Compiling(WORKLOAD, SimulatedDevice(10 * GIB))
    finding = find(prober, Settings(), target="simulated", clock=prober.clock)
    eager_bytes = WORKLOAD.peak_bytes(finding.batch_size)
    peaks = {trial.batch_size: trial.peak_bytes for trial in finding.trials if trial.fits}
    assert peaks[finding.batch_size] == eager_bytes
    assert finding.recommendation.peak_bytes == eager_bytes + GIB
    assert finding.memory_curve is not None
    assert finding.memory_curve.per_sample_bytes == pytest.approx(2**20, rel=0.01)


class Wavering(SimulatedProber):
    """The peak of a size differs from run to run: the second confirmation is over the budget."""

    num_confirmations = 0

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        trial = super().measure(batch_size, plan, timeout_s=timeout_s)
        if not plan.is_confirmation:
            return trial
        self.num_confirmations += 1
        if batch_size < 8192 or self.num_confirmations < 2:
            return trial
        return replace(trial, outcome=Outcome.OVER_BUDGET)


def test_a_peak_close_to_the_budget_is_confirmed_more_than_once() -> None:
    asked = Settings(goal=Goal.MEMORY, headroom_fraction=0.0)
    prober = Wavering(WORKLOAD, SimulatedDevice(9 * GIB + 2**28), asked)
    finding = find(prober, asked, target="simulated", clock=prober.clock)
    assert finding.batch_size == 4096
    assert {trial.batch_size: trial.outcome for trial in finding.trials}[8192] is (
        Outcome.OVER_BUDGET
    )


def test_a_peak_far_from_the_budget_is_confirmed_once() -> None:
    asked = Settings(goal=Goal.MEMORY, headroom_fraction=0.0)
    prober = Wavering(WORKLOAD, SimulatedDevice(10 * GIB), asked)
    finding = find(prober, asked, target="simulated", clock=prober.clock)
    assert finding.batch_size == 8192
    assert prober.num_confirmations == 1


def test_a_size_that_is_expected_to_be_the_largest_runs_once_and_longer() -> None:
    asked = Settings(goal=Goal.MEMORY)
    prober = SimulatedProber(WORKLOAD, SimulatedDevice(10 * GIB), asked)
    finding = find(prober, asked, target="simulated", clock=prober.clock)
    plans = [plan for size, plan in prober.runs if size == finding.batch_size]
    assert plans[0].is_confirmation
    assert all(plan.num_windows < 3 for plan in plans[1:]), "it ran as long once more"
    assert prober.runs[-1][0] == finding.batch_size
    assert finding.confirmation is not None
    assert len(finding.confirmation.window_peaks_bytes) == 3
    trial = next(each for each in finding.trials if each.batch_size == finding.batch_size)
    assert len(trial.rounds) == 1


class Accumulating(SimulatedProber):
    """Gradients of other passes take a GiB, and the final run another half."""

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        trial = super().measure(batch_size, plan, timeout_s=timeout_s)
        more_bytes = GIB * (plan.num_passes - 1) + GIB // 2 * plan.is_confirmation
        peak_bytes = (trial.peak_bytes or 0) + more_bytes
        budget_bytes = self._budget_bytes
        outcome = Outcome.OVER_BUDGET if peak_bytes > budget_bytes else trial.outcome
        return replace(trial, peak_bytes=peak_bytes, outcome=outcome, num_passes=plan.num_passes)


def _accumulate(capacity_bytes: int, **asked: Any) -> tuple[Finding, Accumulating]:
    settings = Settings(headroom_fraction=0.0, **asked)
    prober = Accumulating(WORKLOAD, SimulatedDevice(capacity_bytes), settings)
    return find(prober, settings, target="simulated", clock=prober.clock), prober


def test_sizes_below_the_global_batch_hold_gradients_of_two_passes() -> None:
    finding, prober = _accumulate(40 * GIB, global_batch_size=256)
    assert {size: plan.num_passes for size, plan in prober.runs} == {
        size: 1 if size == 256 else 2 for size, _ in prober.runs
    }
    assert finding.gradient_accumulation_steps == 256 // finding.batch_size


def test_every_size_does_where_the_number_of_passes_is_fixed() -> None:
    finding, prober = _accumulate(40 * GIB, gradient_accumulation_steps=4, max_batch_size=256)
    assert {plan.num_passes for _, plan in prober.runs} == {2}
    assert finding.recommendation.global_batch_size == 4 * finding.batch_size


def test_the_whole_global_batch_runs_though_the_line_of_accumulation_is_above_the_budget() -> None:
    # 1,024 samples take 2 GiB in one pass and 2.5 in the final run; two passes would take 3.
    finding, _ = _accumulate(11 * GIB // 4, global_batch_size=1024, goal=Goal.MEMORY)
    assert finding.batch_size == 1024


def test_a_final_run_that_needs_more_than_its_trial_is_told_with_both_peaks() -> None:
    # 4,096 samples take 6 GiB in a trial that accumulates, and 6.5 in the final run.
    asked = {"gradient_accumulation_steps": 2, "max_batch_size": 8192}
    finding, _ = _accumulate(25 * GIB // 4, **asked)
    assert finding.batch_size == 2048
    (told,) = [w for w in finding.warnings if w.code is WarningCode.FINAL_RUN_TOO_LARGE]
    assert told.figures["batch_size"] == 4096
    assert told.figures["trial_peak_bytes"] <= finding.budget.budget_bytes
    assert told.figures["final_peak_bytes"] > finding.budget.budget_bytes
    assert "stepped down" in advise(told).remedy

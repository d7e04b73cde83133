"""A check of simulated workloads, in simulated time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autobatch.check.judge.looks import LOOKS, MAX_ROUNDS
from autobatch.check.observer import SilentCheckObserver
from autobatch.check.records import CheckSettings, TargetLimits
from autobatch.check.report.document import figures_of
from autobatch.check.session import CheckSession
from autobatch.errors import BaselineError, CheckInterrupted, SettingsError, WorkloadError
from autobatch.records import Outcome, RequirementName, Settings, Status
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

GIB = 2**30
OWN_CODE = "base/model.py"


def make_prober(step_time_s=0.01, seed=0, *, noise=0.05, drift=0.05, **fields):
    workload = SimulatedWorkload(
        peak_bytes=lambda size: GIB + size * 2**20,
        step_time_s=lambda size: step_time_s,
        noise_fraction=noise,
        drift_fraction=drift,
        **fields,
    )
    return SimulatedProber(workload, SimulatedDevice(8 * GIB), Settings(), seed=seed)


def check(
    prober,
    *,
    reference=None,
    asked=OWN_CODE,
    baseline=None,
    observer=None,
    started=None,
    batch_size=64,
    **settings,
):
    def start(name):
        (started if started is not None else []).append(name)
        return reference

    name = "none" if reference is None and asked else asked
    settings = CheckSettings(batch_size=batch_size, reference=name, **settings)
    return CheckSession(
        prober,
        settings,
        target="model.py",
        start=start,
        baseline=baseline,
        observer=observer,
        clock=prober.clock,
    ).run()


def statuses(report):
    return {each.requirement: each.status for each in report.verdicts}


def make_baseline(**more):
    prober, reference = make_prober(seed=10), make_prober(seed=11)
    asked = {"keeps_baseline": True, "time_limit_s": 600, **more}
    return check(prober, reference=reference, **asked).measurement


def test_memory_alone_takes_three_rounds() -> None:
    report = check(make_prober(), limits=TargetLimits(max_memory_bytes=2 * GIB))
    assert statuses(report) == {
        RequirementName.FITS: Status.MET,
        RequirementName.MAX_MEMORY: Status.MET,
    }
    assert len(report.measurement.rounds) == 3


def test_a_clear_case_is_decided_at_the_first_look_that_can() -> None:
    report = check(make_prober(), limits=TargetLimits(max_step_time_s=0.1))
    assert statuses(report)[RequirementName.MAX_STEP_TIME] is Status.MET
    assert len(report.measurement.rounds) == LOOKS[0]


def test_a_case_that_cannot_be_decided_ends_inconclusive() -> None:
    report = check(make_prober(), limits=TargetLimits(max_step_time_s=0.01), time_limit_s=1e6)
    assert statuses(report)[RequirementName.MAX_STEP_TIME] is Status.INCONCLUSIVE
    assert len(report.measurement.rounds) == MAX_ROUNDS
    assert report.is_met
    assert not replace(report, settings=replace(report.settings, strict=True)).is_met


def test_the_time_limit_ends_it_earlier() -> None:
    prober = make_prober()
    report = check(prober, limits=TargetLimits(max_step_time_s=0.01), time_limit_s=1.5)
    assert 3 <= len(report.measurement.rounds) < LOOKS[3]


def test_a_time_limit_too_short_for_anything_says_so() -> None:
    report = check(make_prober(), limits=TargetLimits(max_step_time_s=0.01), time_limit_s=1e-3)
    verdict = report.verdicts[-1]
    assert verdict.status is Status.INCONCLUSIVE
    assert "too few rounds" in verdict.reason


def test_a_baseline_is_kept_precise_and_the_same_again_is_met() -> None:
    baseline = make_baseline()
    assert len(baseline.rounds) >= 24
    assert all(each.reference_times_s for each in baseline.rounds)
    report = check(make_prober(seed=20), reference=make_prober(seed=21), baseline=baseline)
    assert statuses(report) == {
        RequirementName.FITS: Status.MET,
        RequirementName.BASELINE_MEMORY: Status.MET,
        RequirementName.BASELINE_STEP_TIME: Status.MET,
    }


def test_a_slower_step_and_more_memory_are_not_met() -> None:
    baseline = make_baseline()
    prober = make_prober(0.0125, seed=20)
    prober._workload = replace(prober._workload, peak_bytes=lambda size: round(1.2 * GIB))
    report = check(prober, reference=make_prober(seed=21), baseline=baseline)
    assert statuses(report)[RequirementName.BASELINE_STEP_TIME] is Status.NOT_MET
    assert statuses(report)[RequirementName.BASELINE_MEMORY] is Status.NOT_MET


def test_a_machine_slower_as_a_whole_is_no_regression() -> None:
    report = check(
        make_prober(0.013, 20),
        reference=make_prober(0.013, 21),
        baseline=make_baseline(),
        time_limit_s=600,
    )
    assert statuses(report)[RequirementName.BASELINE_STEP_TIME] is Status.MET


def test_a_baseline_keeps_its_reference_and_the_size_that_it_ran_at() -> None:
    started: list[str] = []
    baseline = make_baseline(started=started)
    assert (baseline.reference, baseline.reference_batch_size) == ("base/model.py", 64)
    reference = make_prober(seed=23)
    earlier = replace(baseline, reference_batch_size=32)
    report = check(
        make_prober(seed=20), reference=reference, asked=None, baseline=earlier, started=started
    )
    assert started == ["base/model.py"] * 2
    assert {size for size, _ in reference.runs} == {32}
    assert report.measurement.reference_batch_size == 32


def test_without_a_reference_a_baseline_is_of_the_target_alone() -> None:
    baseline = check(make_prober(), keeps_baseline=True, asked=None).measurement
    assert (baseline.reference, baseline.reference_batch_size) == ("none", None)
    assert not any(each.reference_times_s for each in baseline.rounds)


def test_without_a_comparison_no_reference_is_started() -> None:
    started: list[str] = []
    reference = make_prober()
    check(make_prober(), reference=reference, started=started)
    assert started == []
    assert reference.runs == []


def test_other_hardware_is_compared_by_memory_alone_when_asked_to() -> None:
    baseline = make_baseline()
    other = replace(baseline, environment=replace(baseline.environment, device_name="another"))
    with pytest.raises(BaselineError, match="another"):
        check(make_prober(), reference=make_prober(), baseline=other)
    reference = make_prober()
    report = check(make_prober(), reference=reference, baseline=other, any_hardware=True)
    assert RequirementName.BASELINE_STEP_TIME not in statuses(report)
    assert statuses(report)[RequirementName.BASELINE_MEMORY] is Status.MET
    assert reference.runs == []


def test_a_size_that_does_not_fit_is_not_met_and_the_rest_is_open() -> None:
    report = check(
        make_prober(outcomes={64: Outcome.OUT_OF_MEMORY}),
        limits=TargetLimits(max_memory_bytes=GIB, max_step_time_s=1.0),
    )
    assert statuses(report) == {
        RequirementName.FITS: Status.NOT_MET,
        RequirementName.MAX_MEMORY: Status.INCONCLUSIVE,
        RequirementName.MAX_STEP_TIME: Status.INCONCLUSIVE,
    }
    assert not report.is_met
    assert report.measurement is None


class Sampling(SimulatedProber):
    """A device on which trials look at memory now and then, once in a while without a gap."""

    def __init__(self, *, bounds) -> None:
        self.bounds = iter(bounds)
        simulated = make_prober()
        super().__init__(simulated._workload, simulated._device, Settings())

    def measure(self, batch_size, plan, *, timeout_s=None):
        trial = super().measure(batch_size, plan, timeout_s=timeout_s)
        return replace(trial, peak_is_lower_bound=next(self.bounds))


@pytest.mark.parametrize("bounds", [(True, True, True), (False, True, False)], ids=str)
def test_a_peak_that_a_trial_calls_a_lower_bound_proves_no_limit_kept(bounds) -> None:
    limits = TargetLimits(max_memory_bytes=2 * GIB, min_headroom_fraction=0.1)
    report = check(Sampling(bounds=bounds), limits=limits)
    found = statuses(report)
    assert found.pop(RequirementName.FITS) is Status.MET
    assert set(found.values()) == {Status.INCONCLUSIVE}
    assert "lower bound" in report.verdicts[-1].reason
    report = check(Sampling(bounds=bounds), limits=TargetLimits(max_memory_bytes=GIB))
    assert statuses(report)[RequirementName.MAX_MEMORY] is Status.NOT_MET


def test_a_peak_that_no_trial_calls_a_lower_bound_is_what_was_used() -> None:
    report = check(Sampling(bounds=[False] * 3), limits=TargetLimits(max_memory_bytes=2 * GIB))
    assert statuses(report)[RequirementName.MAX_MEMORY] is Status.MET


def test_a_trial_that_was_killed_gets_a_second_chance() -> None:
    prober = make_prober(outcomes={64: Outcome.KILLED})
    report = check(prober)
    assert statuses(report)[RequirementName.FITS] is Status.NOT_MET
    assert len(prober.runs) == 2


def test_without_a_batch_size_the_question_has_no_answer() -> None:
    with pytest.raises(SettingsError, match="no batch size"):
        check(make_prober(), batch_size=None)


def test_a_batch_larger_than_the_data_set_is_refused() -> None:
    with pytest.raises(SettingsError, match="64` is more than the dataset's 10 samples"):
        check(make_prober(dataset_size=10))


class OnRanks:
    """A prober whose workload two processes train together."""

    def __init__(self, prober) -> None:
        self._prober, self.measure, self.clock = prober, prober.measure, prober.clock

    def load(self, **options):
        loaded = self._prober.load(**options)
        workload = replace(loaded.workload, num_ranks=2, parallel="DDP")
        return replace(loaded, workload=workload)


def test_the_throughput_of_processes_is_that_of_all_of_them() -> None:
    # A step of 10 ms with 64 samples on each: 12,800 a second.
    for limit, status in ((11_000, Status.MET), (15_000, Status.NOT_MET)):
        report = check(OnRanks(make_prober()), limits=TargetLimits(min_samples_per_s=limit))
        assert statuses(report)[RequirementName.MIN_THROUGHPUT] is status
    measurement = report.measurement
    assert (measurement.num_ranks, measurement.parallel) == (2, "DDP")
    assert figures_of(measurement)["samples_per_s"] == pytest.approx(12_800, rel=0.1)


def test_processes_are_compared_with_as_many_alone() -> None:
    baseline = make_baseline()
    with pytest.raises(BaselineError, match="processes 1 then, 2 DDP now"):
        check(OnRanks(make_prober()), reference=make_prober(), baseline=baseline)


def test_each_process_needs_a_batch_of_the_data_set() -> None:
    prober = OnRanks(make_prober(dataset_size=100))
    with pytest.raises(SettingsError, match="`batch_size=64` for each of 2 processes is more than"):
        check(prober)


def test_a_reference_that_does_not_run_is_an_error() -> None:
    broken = make_prober(outcomes={64: Outcome.OUT_OF_MEMORY})
    with pytest.raises(WorkloadError, match=r"reference 'base/model\.py' did not run"):
        check(make_prober(), reference=broken, keeps_baseline=True)


class Interrupting(SilentCheckObserver):
    """Presses Ctrl-C after some rounds."""

    def __init__(self, after: int) -> None:
        self._after = after

    def loaded(self, workload, budget, device) -> None:
        if self._after == 0:
            raise KeyboardInterrupt

    def round_finished(self, number, verdicts) -> None:
        if number == self._after:
            raise KeyboardInterrupt


def test_an_interruption_keeps_what_was_decided() -> None:
    limits = TargetLimits(max_memory_bytes=2 * GIB, max_step_time_s=0.1, min_samples_per_s=6400)
    with pytest.raises(CheckInterrupted) as caught:
        check(make_prober(), limits=limits, observer=Interrupting(LOOKS[1]))
    report = caught.value.report
    assert not report.is_complete
    found = statuses(report)
    assert found[RequirementName.MAX_MEMORY] is Status.MET
    assert found[RequirementName.MAX_STEP_TIME] is Status.MET
    assert found[RequirementName.MIN_THROUGHPUT] is Status.INCONCLUSIVE


def test_an_interruption_before_the_first_round_decides_nothing() -> None:
    with pytest.raises(CheckInterrupted) as caught:
        check(
            make_prober(),
            limits=TargetLimits(max_memory_bytes=2 * GIB),
            observer=Interrupting(0),
        )
    found = {each.status for each in caught.value.report.verdicts}
    assert found == {Status.INCONCLUSIVE}


class Noting(SilentCheckObserver):
    """Keeps what it is told, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def loading(self, name: str) -> None:
        self.events.append(("loading", name))

    def loaded(self, workload, budget, device) -> None:
        self.events.append(("loaded", device))

    def measuring(self, batch_size: int, time_limit_s: float) -> None:
        self.events.append(("measuring", batch_size, time_limit_s))

    def round_finished(self, number, verdicts) -> None:
        self.events.append(("round", number))


def test_every_wait_is_announced_before_it_begins() -> None:
    seen = Noting()
    check(
        make_prober(),
        reference=make_prober(seed=1),
        observer=seen,
        keeps_baseline=True,
        time_limit_s=600,
    )
    target, loaded, reference, measuring, *rounds = seen.events
    assert target[0] == "loading"
    assert loaded == ("loaded", "simulated")
    assert reference == ("loading", f"the reference, {OWN_CODE}")
    assert measuring == ("measuring", 64, 600)
    assert rounds[:2] == [("round", 1), ("round", 2)]

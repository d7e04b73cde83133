"""Where other processes keep the cores busy, a search finds what helps and goes on with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from autobatch.finder import find
from autobatch.probe.protocol import Loaded, TimingPlan
from autobatch.records import Finding, Settings, Trial, WarningCode
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

NUM_CORES = 4


class ContendedProber(SimulatedProber):
    """Four threads on four cores, of which others keep some busy.

    Sizes above one run on all threads, which wait for each other; how long, ``wait`` says for a
    number of threads and whether they sleep meanwhile.
    """

    def __init__(
        self,
        wait: Callable[[int, bool], float],
        *,
        others_busy_cores: float | None = 3.0,
        num_threads: int = NUM_CORES,
    ) -> None:
        workload = SimulatedWorkload.linear(per_sample_bytes=2**20, dataset_size=10_000)
        super().__init__(replace(workload, step_time_s=self._step_time_s), SimulatedDevice(2**34))
        self._wait = wait
        self._others_busy_cores = others_busy_cores
        self._all_threads = self._threads = num_threads
        self.is_passive = False

    def load(self, *, timeout_s: float | None = None) -> Loaded:
        loaded = super().load(timeout_s=timeout_s)
        return replace(
            loaded,
            workload=replace(loaded.workload, num_threads=self._all_threads),
            environment=replace(loaded.environment, num_cores=NUM_CORES),
        )

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        self._threads = plan.num_threads or self._all_threads
        trial = super().measure(batch_size, plan, timeout_s=timeout_s)
        return replace(trial, others_busy_cores=self._others_busy_cores)

    def _step_time_s(self, batch_size: int) -> float:
        waiting = 1.0 if batch_size == 1 else self._wait(self._threads, self.is_passive)
        return (1e-3 + 1e-4 * batch_size) * waiting


class AdjustableContendedProber(ContendedProber):
    def use_variables(self, variables: dict[str, str]) -> None:
        self.is_passive = variables.get("OMP_WAIT_POLICY") == "PASSIVE"


def search(prober: ContendedProber, **settings: object) -> Finding:
    asked = Settings(**settings)  # type: ignore[arg-type]
    return find(prober, asked, target="simulated", clock=prober.clock)


def test_threads_that_sleep_while_they_wait_are_taken() -> None:
    prober = AdjustableContendedProber(lambda threads, passive: 1.1 if passive else 50.0)
    finding = search(prober)
    assert finding.contention is not None
    assert finding.contention.variables == {"OMP_WAIT_POLICY": "PASSIVE"}
    assert finding.contention.num_threads is None
    assert finding.contention.speedup == pytest.approx(50 / 1.1, rel=0.05)
    assert prober.is_passive
    assert finding.batch_size == 256  # as on an idle machine, where 1 ms of latency is 4 %


def test_fewer_threads_are_taken_where_they_are_much_faster() -> None:
    prober = AdjustableContendedProber(lambda threads, passive: 1.0 if threads == 1 else 50.0)
    finding = search(prober)
    assert finding.contention is not None
    assert (finding.contention.num_threads, finding.contention.variables) == (1, {})
    assert not prober.is_passive
    last = [plan for _, plan in prober.runs][-1]
    assert last.is_confirmation
    assert last.num_threads == 1


def test_where_processes_cannot_be_started_otherwise_threads_alone_are_tried() -> None:
    finding = search(ContendedProber(lambda threads, passive: 1.0 if threads == 1 else 50.0))
    assert finding.contention is not None
    assert finding.contention.num_threads == 1


def test_what_does_not_help_is_not_kept() -> None:
    prober = AdjustableContendedProber(lambda threads, passive: 1.1 if passive else 1.0)
    finding = search(prober)
    assert finding.contention is None
    assert not prober.is_passive
    assert all(plan.num_threads is None for size, plan in prober.runs if size > 4)


def test_where_a_remedy_is_in_force_no_warning_advises_another() -> None:
    helped = search(AdjustableContendedProber(lambda threads, passive: 1.1 if passive else 50.0))
    not_helped = search(AdjustableContendedProber(lambda threads, passive: 50.0))
    codes = [{each.code for each in finding.warnings} for finding in (helped, not_helped)]
    assert [WarningCode.BUSY_MACHINE in each for each in codes] == [False, True]


@pytest.mark.parametrize(
    ("others_busy_cores", "num_threads"), [(0.1, NUM_CORES), (None, NUM_CORES), (3.0, 1)]
)
def test_with_cores_enough_nothing_is_tried(
    others_busy_cores: float | None, num_threads: int
) -> None:
    prober = AdjustableContendedProber(
        lambda threads, passive: 1.0, others_busy_cores=others_busy_cores, num_threads=num_threads
    )
    assert search(prober).contention is None
    assert all(plan.num_threads is None for _, plan in prober.runs)


def test_a_remedy_is_looked_for_wherever_a_warning_would_be_given() -> None:
    for others_busy_cores, is_busy in ((0.5, True), (0.4, False)):
        prober = AdjustableContendedProber(
            lambda threads, passive: 1.0, others_busy_cores=others_busy_cores
        )
        codes = {each.code for each in search(prober).warnings}
        assert (WarningCode.BUSY_MACHINE in codes) is is_busy
        assert any(plan.num_threads is not None for _, plan in prober.runs) is is_busy


def test_what_the_user_chose_is_not_chosen_otherwise() -> None:
    prober = AdjustableContendedProber(lambda threads, passive: 1.0 if passive else 50.0)
    finding = search(prober, variables={"OMP_WAIT_POLICY": "ACTIVE"})
    assert finding.contention is None
    assert not prober.is_passive


def test_a_search_that_ends_with_the_remedy_keeps_what_ran_before_it() -> None:
    class Slow(AdjustableContendedProber):
        def use_variables(self, variables: dict[str, str]) -> None:
            super().use_variables(variables)
            self.elapsed_s += 100.0  # starting a process takes all the time there is

    prober = Slow(lambda threads, passive: 1.1 if passive else 50.0)
    finding = search(prober, time_limit_s=60.0)
    assert finding.batch_size in (1, 2, 4)
    assert finding.contention is None

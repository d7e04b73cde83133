"""On a machine whose speed wanders, and that slows single processes, answers stay together."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from statistics import median

import pytest

from autobatch.finder import find
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Settings, Trial
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

GIB = 2**30
NUM_SEARCHES = 30
CORRELATION_TIME_S = 6.0
START_TIME_S = 0.13


class WanderingProber(SimulatedProber):
    """A shared virtual machine, as it was seen.

    Its speed wanders by a seventh within seconds; one process in seven is slower than the others
    for all its life, and one in twenty-five is nearly half as fast.
    """

    def __init__(self, workload: SimulatedWorkload, seed: int, *, noise: float) -> None:
        drifting = replace(workload, step_time_s=self._drifted, noise_fraction=0.05 * noise)
        super().__init__(drifting, SimulatedDevice(20 * GIB), seed=seed)
        self._costs = workload.step_time_s
        self._noise = noise
        self._wander = self._random.gauss(0.0, 1.0)
        self._wandered_s = 0.0

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        self.elapsed_s += START_TIME_S
        slowness = 0.03 * self._random.gauss(0.0, 1.0)
        slowness += 0.2 * (self._random.random() < 0.15) + 0.5 * (self._random.random() < 0.04)
        self._slowness = slowness
        return super().measure(batch_size, plan, timeout_s=timeout_s)

    def _drifted(self, batch_size: int) -> float:
        kept = math.exp(-(self.elapsed_s - self._wandered_s) / CORRELATION_TIME_S)
        self._wandered_s = self.elapsed_s
        self._wander = kept * self._wander + math.sqrt(1 - kept**2) * self._random.gauss(0.0, 1.0)
        log = 0.14 * self._wander + self._slowness
        return self._costs(batch_size) * math.exp(self._noise * log)


def search_often(workload: SimulatedWorkload, *, noise: float = 1.0) -> Counter[int]:
    answers: Counter[int] = Counter()
    for seed in range(NUM_SEARCHES):
        prober = WanderingProber(workload, seed, noise=noise)
        finding = find(prober, Settings(), target="simulated", clock=prober.clock)
        answers[finding.batch_size] += 1
    return answers


def share_of_neighbours(answers: Counter[int]) -> float:
    return max(answers[size] + answers[2 * size] for size in answers) / NUM_SEARCHES


@pytest.mark.parametrize(
    ("latency_s", "per_sample_s"), [(3.8e-3, 2.4e-3), (0.6e-3, 0.2e-3), (1.0e-3, 0.2e-3)]
)
def test_answers_are_neighbours(latency_s: float, per_sample_s: float) -> None:
    workload = SimulatedWorkload.linear(
        latency_s=latency_s,
        per_sample_s=per_sample_s,
        per_sample_bytes=2**22,
        dataset_size=30_000,
    )
    assert share_of_neighbours(search_often(workload)) >= 0.8
    answers = search_often(workload, noise=0.1)
    assert share_of_neighbours(answers) >= 29 / 30
    assert min(answers) * per_sample_s / workload.step_time_s(min(answers)) >= 0.9


def test_a_size_that_a_processor_does_not_like_is_not_taken_for_its_neighbours() -> None:
    """On a quiet machine measurements win over a smooth curve."""

    def step_time_s(batch_size: int) -> float:
        return (1e-3 + 0.2e-3 * batch_size) * (1.15 if batch_size == 128 else 1.0)

    workload = SimulatedWorkload(
        peak_bytes=lambda size: 2**28 + 2**22 * size, step_time_s=step_time_s
    )
    assert 128 not in search_often(workload, noise=0.1)


def test_a_quiet_machine_is_asked_for_less() -> None:
    workload = SimulatedWorkload.linear(latency_s=0.6e-3, per_sample_s=0.2e-3, dataset_size=30_000)
    timings: dict[float, list[int]] = {}
    for noise in (0.1, 1.0):
        for seed in range(10):
            prober = WanderingProber(workload, seed, noise=noise)
            find(prober, Settings(), target="simulated", clock=prober.clock)
            num_timings = sum(plan.round_number > 0 for _, plan in prober.runs)
            timings.setdefault(noise, []).append(num_timings)
    assert median(timings[0.1]) < 0.8 * median(timings[1.0])

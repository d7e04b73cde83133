"""The goal of efficiency, from end to end on simulated workloads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from autobatch.errors import SettingsError, WorkloadError
from autobatch.finder import find
from autobatch.noise.job import NoisePlan
from autobatch.noise.worth import worth_of
from autobatch.probe.protocol import Loaded, TimingPlan
from autobatch.records import Finding, Goal, LearningRateRule, Settings, Trial
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload

GIB = 2**30


def search(
    noise_scale: float | None, *, capacity_bytes: int = 8 * GIB, seed: int = 0, **asked: object
) -> Finding:
    # Goodput is highest at sqrt(phi * 2 ms / 0.1 ms) = sqrt(20 phi).
    workload = SimulatedWorkload.linear(dataset_size=10_000, noise_fraction=0.02)
    workload = replace(workload, noise_scale=noise_scale)
    settings = Settings(**{"goal": Goal.EFFICIENCY, **asked})  # type: ignore[arg-type]
    device = SimulatedDevice(capacity_bytes)
    prober = SimulatedProber(workload, device, settings, seed=seed)
    worth = worth_of(settings)
    return find(prober, settings, target="simulated", worth=worth, clock=prober.clock)


@pytest.mark.parametrize(
    ("noise_scale", "best"),
    [pytest.param(3.2, 8, marks=pytest.mark.slow), (51.2, 32), (819.2, 128)],
)
def test_the_answer_is_the_size_with_the_highest_goodput(noise_scale: float, best: int) -> None:
    finding = search(noise_scale)
    assert finding.batch_size == best
    assert finding.efficiency is not None
    assert finding.efficiency.batch_size == best
    assert finding.gradient_noise is not None
    assert finding.gradient_noise.noise_scale == noise_scale
    fitting = {trial.batch_size for trial in finding.trials if trial.fits}
    assert {each.batch_size for each in finding.efficiency.goodputs} == fitting


def test_the_answer_is_the_best_or_beside_it_whatever_the_noise_of_timing() -> None:
    for seed in range(10):
        assert search(51.2, seed=seed).batch_size in (16, 32, 64)


def test_memory_bounds_the_answer() -> None:
    finding = search(819.2, capacity_bytes=GIB // 2, headroom_fraction=0)
    assert finding.batch_size <= finding.recommendation.largest_batch_size <= 256
    tight = search(819.2, capacity_bytes=2**28 + 40 * 2**20, headroom_fraction=0)
    assert tight.batch_size == 32


def test_micro_batches_are_small_against_the_data_set() -> None:
    finding = search(51.2)
    assert finding.gradient_noise is not None
    assert finding.gradient_noise.micro_batch_size == 64


def plan_of(**fields: object) -> NoisePlan:
    """The plan that a search hands to whoever measures the noise."""
    plans: list[NoisePlan] = []

    class Noted(SimulatedProber):
        def run(self, job: Any, *, timeout_s: float | None = None) -> Any:
            plans.append(job.plan)
            return super().run(job, timeout_s=timeout_s)

    size = fields.pop("dataset_size", 10_000)
    workload = SimulatedWorkload.linear(dataset_size=size)  # type: ignore[arg-type]
    settings = Settings(**{"goal": Goal.EFFICIENCY, **fields})  # type: ignore[arg-type]
    prober = Noted(workload, SimulatedDevice(8 * GIB), settings)
    find(prober, settings, target="simulated", worth=worth_of(settings), clock=prober.clock)
    (plan,) = plans
    return plan


def test_a_hundred_steps_are_trained_before_at_the_base_batch_size() -> None:
    training = plan_of(base_batch_size=64, learning_rate=0.3).training
    assert training is not None
    assert (training.batch_size, training.num_steps) == (64, 100)
    assert (training.learning_rate, training.rate_multiplier) == (0.3, 1.0)


def test_no_sample_is_trained_on_twice() -> None:
    training = plan_of(dataset_size=1000).training
    assert training is not None
    assert (training.batch_size, training.num_steps) == (32, 31)


def test_where_the_base_batch_did_not_run_the_rate_follows_the_size_that_did() -> None:
    options = {"base_batch_size": 64, "max_batch_size": 16}
    training = plan_of(learning_rate_rule=LearningRateRule.LINEAR, **options).training
    assert training is not None
    assert (training.batch_size, training.rate_multiplier) == (16, 0.25)


def test_the_noise_is_measured_for_other_goals_when_asked() -> None:
    plain = search(51.2, goal=Goal.THROUGHPUT)
    assert plain.gradient_noise is None
    assert plain.efficiency is None
    asked = search(51.2, goal=Goal.THROUGHPUT, gradient_noise=True)
    assert asked.batch_size == plain.batch_size
    assert asked.efficiency is not None
    assert asked.efficiency.batch_size < asked.batch_size


def test_a_noise_that_cannot_be_measured_is_an_error_with_the_trials() -> None:
    with pytest.raises(WorkloadError, match="no noise scale") as raised:
        search(None)
    assert raised.value.trials


def test_a_prober_that_knows_no_gradients_is_refused_before_the_search() -> None:
    class Plain:
        def load(self, *, timeout_s: float | None = None) -> Loaded:
            raise AssertionError("nothing is to be loaded")

        def measure(
            self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
        ) -> Trial:
            raise AssertionError("nothing is to run")

    settings = Settings(goal=Goal.EFFICIENCY)
    with pytest.raises(SettingsError, match="cannot be measured here"):
        find(Plain(), settings, target="plain", worth=worth_of(settings))


def test_without_time_left_the_answer_is_the_knee() -> None:
    finding = search(51.2, time_limit_s=0.5)
    assert finding.gradient_noise is None
    assert "is not known" in finding.recommendation.reason

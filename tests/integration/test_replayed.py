"""Whole searches on the replayed device: the largest size is right, whatever ran before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from autobatch.finder import find
from autobatch.prediction.forecast import TracedForecast
from autobatch.prediction.trace import PlainFacts
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.records import Finding, Goal, Outcome, Settings, WarningCode
from autobatch.testing.replayed import InProcessProber, ReplayedGpu, make_replayed_prober
from autobatch.workload.task import load_task
from scripts.gpu.replayed import LARGEST, examine, prepare, target_of

MIB = 2**20
OVERHEAD_BYTES = 534 * MIB
PLAN = TimingPlan(min_steps=1, max_time_s=0.0)
# At this cap a sequence model of batch size 8 meets the limit twice in every step.
LSTM = ReplayedGpu(
    capacity_bytes=OVERHEAD_BYTES + 83 * MIB, overhead_bytes=OVERHEAD_BYTES, scale=128
)


@pytest.mark.parametrize(
    ("workload", "capacity_bytes"),
    [
        ("cnn", 654_042_413),
        ("mlp", 1_010_749_285),
        ("lstm", 607_754_650),  # size 1 alone fits; 2 fails in its backward pass
        ("workspace", 756_428_939),  # 8 leaves 1 MiB of it
    ],
)
def test_the_largest_size_is_that_of_plain_training_in_every_order(
    workload: str, capacity_bytes: int
) -> None:
    prepare()
    case = examine(workload, capacity_bytes)
    assert 0 < case.truth < LARGEST
    assert case.is_right, case


def search(**variables: str) -> Finding:
    settings = Settings(
        device="cpu",
        headroom_fraction=0.0,
        goal=Goal.MEMORY,
        max_batch_size=8,
        variables=variables,
    )
    target = target_of("lstm")
    with make_replayed_prober(target, settings, LSTM) as prober:
        return find(prober, settings, target=target)


def test_a_limit_that_is_met_in_every_step_is_told_and_the_remedy_helps() -> None:
    finding = search()
    assert finding.batch_size == 8
    (warning,) = (each for each in finding.warnings if each.code is WarningCode.ALLOC_RETRIES)
    assert warning.figures == {"batch_size": 8, "alloc_retries_per_step": 2.0}
    with_remedy = search(PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True")
    assert with_remedy.batch_size == 8
    assert WarningCode.ALLOC_RETRIES not in {each.code for each in with_remedy.warnings}


def test_a_worker_survives_running_out_and_the_final_run_has_one_of_its_own(
    write: Callable[..., str],
) -> None:
    printed: list[str] = []
    target = write(
        """
print("loaded")
model = nn.Linear(64, 64)
batch = lambda size: (torch.randn(size, 64),) * 2
loss = nn.functional.mse_loss
"""
    )
    gpu = ReplayedGpu(capacity_bytes=800 * MIB, overhead_bytes=500 * MIB, scale=1000)
    options: dict[str, Any] = {"on_output": printed.append}
    with make_replayed_prober(target, Settings(device="cpu"), gpu, **options) as prober:
        assert prober.load().device == "cpu:0"
        outcomes = [prober.measure(size, PLAN, timeout_s=100).outcome for size in (8, 1024, 8)]
        assert outcomes == [Outcome.FITS, Outcome.OUT_OF_MEMORY, Outcome.FITS]
        assert printed.count("loaded") == 1
        final = prober.measure(8, replace(PLAN, purpose=Purpose.FINAL), timeout_s=100)
        assert final.fits
        assert printed.count("loaded") == 2


def test_a_traced_step_leads_to_the_largest_size_at_once(write: Callable[..., str]) -> None:
    target = write(
        """
model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 8))
batch = lambda size: (torch.randn(size, 2048, 8),) * 2
loss = nn.functional.mse_loss
"""
    )
    settings = Settings(device="cpu", goal=Goal.MEMORY, headroom_fraction=0.0, max_batch_size=512)
    gpu = ReplayedGpu(capacity_bytes=OVERHEAD_BYTES + 110 * MIB, overhead_bytes=OVERHEAD_BYTES)

    prober = InProcessProber(lambda: load_task(target, settings), settings, gpu)
    facts = PlainFacts(compute_capability=(8, 0), num_sms=108)
    forecast = TracedForecast(target, settings, facts)
    finding = find(prober, settings, target=target, forecast=forecast)
    assert finding.batch_size == 64
    assert [trial.batch_size for trial in finding.trials] == [1, 64, 128]
    assert finding.forecast is not None
    assert abs(finding.forecast.error_fraction) < 0.05

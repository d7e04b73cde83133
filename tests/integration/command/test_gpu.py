"""A command that trains on a GPU, as far as a stand-in for ``torch.cuda`` can show it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from autobatch.errors import AutobatchError
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.records import Outcome

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs /proc")
PLAN = TimingPlan(min_steps=5, max_time_s=0.1)
FINAL = TimingPlan(purpose=Purpose.FINAL, min_steps=5, max_time_s=0.1, num_windows=3)
COMMAND = "python pretends_gpu.py --batch-size 16"
MIB, GIB = 2**20, 2**30


def peak_at(batch_size: int) -> int:
    return GIB + 8 * MIB * batch_size


@pytest.mark.parametrize("fresh", [False, True])
def test_steps_and_peaks_are_those_of_the_gpu(probing: Callable[..., Any], fresh: bool) -> None:
    with probing(COMMAND, fresh=fresh) as prober:
        loaded = prober.load()
        trial = prober.measure(64, PLAN)
    assert (loaded.device, loaded.environment.device_name) == ("cuda:0", "Pretended GPU")
    # 8 GiB are free, and a tenth of 10 stays so.
    assert loaded.budget.budget_bytes == pytest.approx(7 * GIB)
    assert loaded.host_budget is not None
    # The script is far ahead of the GPU: by its own clock a step takes no time at first.
    assert trial.step_time_s == pytest.approx(0.02, rel=0.02)
    assert trial.peak_bytes == trial.peak_reserved_bytes == peak_at(64)
    assert trial.peak_allocated_bytes == peak_at(64) // 2
    assert trial.host_peak_bytes is not None and trial.host_peak_bytes != trial.peak_bytes


def test_the_limit_holds_before_the_first_step(probing: Callable[..., Any]) -> None:
    with probing(f"{COMMAND} --catches", memory_limit_bytes=2 * GIB) as prober:
        loaded = prober.load()
        assert loaded.budget.budget_bytes == pytest.approx(1.8 * GIB)
        assert prober.measure(64, PLAN).fits
        too_large = prober.measure(256, PLAN)
        final = prober.measure(64, FINAL)
    assert too_large.outcome is Outcome.OUT_OF_MEMORY
    assert too_large.message == "OutOfMemoryError in the forward pass: CUDA out of memory."
    assert final.fits
    assert set(final.window_peaks_bytes) == {peak_at(64)}


def test_a_gpu_that_tells_nothing_is_refused(refusal: Callable[..., AutobatchError]) -> None:
    error = refusal(f"{COMMAND} --captures")
    assert str(error) == "the script trains on a GPU, and nothing could be read of its memory"

"""A final run of slow steps goes on for as long as its memory grows, to tell a leak."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain, count, repeat
from typing import Any

import pytest
import torch
from fixtures.tasks import make_context
from torch import nn

from autobatch.devices.base import PeakReading
from autobatch.devices.cpu import CpuDevice
from autobatch.probe.pace import ALONE, Alone, Pace
from autobatch.probe.protocol import Limits, Purpose, TimingPlan
from autobatch.probe.trial.run import run_trial
from autobatch.records import Trial

MIB = 2**20
# Slow enough for windows of one step each, and no patience to wait for more.
SLOW = TimingPlan(
    purpose=Purpose.FINAL,
    min_steps=10,
    max_time_s=0.0,
    precision_fraction=0,
    patience_s=0.0,
    num_windows=3,
)


class ScriptedPeaks(CpuDevice):
    """A CPU whose peaks are a script."""

    def __init__(self, peaks_mib: Iterator[int]) -> None:
        super().__init__()
        self._peaks_mib = peaks_mib

    def read_peak(self) -> PeakReading:
        return PeakReading(peak_bytes=next(self._peaks_mib) * MIB)


@pytest.fixture
def final_run(make_task: Any) -> Callable[..., Trial]:
    def run(peaks_mib: Iterator[int], timeout_s: float | None = None, pace: Pace = ALONE) -> Trial:
        def loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            time.sleep(0.03)  # two of these are a warm-up
            return output.sum()

        samples = [(torch.randn(4), torch.randn(3))] * 64
        task = make_task(nn.Linear(4, 3), dataset=samples, loss=loss)
        limits = Limits(budget_bytes=2**40, timeout_s=timeout_s)
        context = make_context(task, device=ScriptedPeaks(peaks_mib), limits=limits, pace=pace)
        return run_trial(context, 8, SLOW)

    return run


def test_memory_that_keeps_growing_runs_for_ten_steps(final_run: Any) -> None:
    trial = final_run(count(600, 4))
    assert len(trial.window_peaks_bytes) > 3
    assert trial.num_steps >= 10


def test_memory_that_settles_runs_no_longer_than_that_takes_to_see(final_run: Any) -> None:
    trial = final_run(chain((570, 577, 582, 584), repeat(584)))
    assert [peak // MIB for peak in trial.window_peaks_bytes] == [570, 577, 582, 584, 584]


def test_memory_that_stays_runs_no_extra_steps(final_run: Any) -> None:
    assert len(final_run(repeat(600)).window_peaks_bytes) == 3


def test_a_pace_may_ask_for_steps_until_memory_has_settled(final_run: Any) -> None:
    class Slow(Alone):
        num_final_steps = 12

    assert final_run(repeat(600), pace=Slow()).num_steps == 12
    assert final_run(repeat(600), timeout_s=1e-6, pace=Slow()).num_steps < 12


def test_no_extra_steps_run_in_the_second_half_of_the_time(final_run: Any) -> None:
    assert len(final_run(count(600, 4), timeout_s=1e-6).window_peaks_bytes) == 3

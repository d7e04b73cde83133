from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from autobatch.probe.protocol import TimingPlan
from scripts.claims.repeats import share_about_commonest
from scripts.replay.replay import (
    RecordedProber,
    replay,
    share_of_two,
    summarize,
)

SIZES = tuple(2**power for power in range(9))


def make_recording(num_sweeps: int = 6) -> dict[str, Any]:
    """Step times of 8 ms and 0.2 ms a sample; every other sweep, the machine is slower."""
    cells = [
        {
            "batch_size": size,
            "sweep": sweep,
            "peak_bytes": 2**28 + 2**20 * size,
            "step_times_s": [(8e-3 + 2e-4 * size) * (1.1 if sweep % 2 else 1.0)] * 5,
        }
        for sweep in range(num_sweeps)
        for size in SIZES
    ]
    return {
        "dataset_size": 256,
        "smallest_batch_size": 1,
        "budget_bytes": 2**33,
        "cells": cells,
    }


def test_a_replay_ends_with_a_recorded_size_and_the_time_that_it_takes() -> None:
    result = replay(make_recording(), 0)
    assert result.batch_size in SIZES
    assert 1.0 < result.seconds < 60.0
    assert replay(make_recording(), 0) == result


def test_without_noise_every_step_takes_the_median() -> None:
    recording = make_recording()
    prober = RecordedProber(recording, 0, noise=0.0)
    prober.load()
    trial = prober.measure(64, TimingPlan())
    assert trial.samples_per_s == pytest.approx(summarize(recording["cells"])[64])


def test_sizes_that_are_timed_in_turn_share_a_sweep() -> None:
    prober = RecordedProber(make_recording(), 0)
    prober.load()
    for number in range(1, 20):
        plan = TimingPlan(round_number=number)
        small, large = prober.measure(8, plan), prober.measure(256, plan)
        assert small.step_time_s is not None
        assert large.step_time_s is not None
        assert large.step_time_s / small.step_time_s == pytest.approx(59.2 / 9.6)


def test_answers_of_two_neighbours_are_counted_together() -> None:
    assert share_of_two(Counter({8: 3, 16: 5, 64: 2}), SIZES) == 0.8
    assert share_of_two(Counter({256: 4}), SIZES) == 1.0


def test_answers_about_the_commonest_are_counted() -> None:
    assert share_about_commonest(Counter({8: 3, 16: 4, 32: 1, 64: 2}), SIZES) == 0.8
    assert share_about_commonest(Counter({1: 3, 2: 1, 256: 1}), SIZES) == 0.8

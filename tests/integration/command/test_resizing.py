"""Sizes in place and by a start of their own: they must say the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psutil
import pytest

from autobatch.decide.decision import Asked, decide
from autobatch.devices.cpu import count_usable_cores
from autobatch.probe.probers import AdjustableProber
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.records import Goal, Trial

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs /proc")
PLAN = TimingPlan(min_steps=3, max_time_s=0.2)
FINAL = TimingPlan(purpose=Purpose.FINAL, min_steps=5, max_time_s=0.1, num_windows=3)
SIZES = (32, 128, 512)
ASKED = Asked(goal=Goal.THROUGHPUT, tolerance_fraction=0.05)


@pytest.mark.parametrize(
    "kind",
    [
        "mnist",
        "dcgan",
        pytest.param("imagenet", marks=pytest.mark.slow),
        pytest.param("timm", marks=pytest.mark.slow),
        "lightning",
    ],
)
def test_in_place_and_fresh_agree_or_are_neighbours(probing: Callable[..., Any], kind: str) -> None:
    if kind == "lightning":
        pytest.importorskip("lightning")
    trials: dict[bool, dict[int, Trial]] = {}
    for fresh in (False, True):
        with probing(f"python kinds.py --kind {kind} -b 32", fresh=fresh) as prober:
            prober.load()
            trials[fresh] = {size: prober.measure(size, PLAN) for size in SIZES}
            assert prober.starts.num_starts == (len(SIZES) if fresh else 1)
    knees = [decide(trials[fresh], ASKED).knee for fresh in (False, True)]
    assert None not in knees
    places = [SIZES.index(knee or 0) for knee in knees]
    assert abs(places[0] - places[1]) <= 1
    for size in SIZES:
        in_place, fresh_trial = trials[False][size], trials[True][size]
        assert in_place.fits and fresh_trial.fits
        # The time of a step is made up, and must be found by both ways of counting.
        expected_s = pytest.approx(0.004 + 0.0005 * size, rel=0.01)
        assert in_place.step_time_s == expected_s and fresh_trial.step_time_s == expected_s
        # Two fresh processes differ by up to 40 MiB, too: by what malloc gives back, and when.
        # The peak of the size before would be 0.79 of the largest one.
        ratio = (in_place.peak_bytes or 0) / (fresh_trial.peak_bytes or 1)
        assert 0.85 < ratio < 1.15


def test_a_size_in_the_command_goes_to_it_for_the_final_run_alone(
    probing: Callable[..., Any],
) -> None:
    with probing("python loop.py --batch-size 16", resize=True) as prober:
        loaded = prober.load()
        assert loaded.workload.base_batch_size == 16
        assert prober.measure(8, PLAN).fits and prober.measure(64, PLAN).fits
        assert prober.starts.num_starts == 1
        assert prober.measure(64, FINAL).fits
        assert prober.starts.num_starts == 2
        assert prober.passed.own == (64, 64)  # the script's own loader, and what was passed


def test_an_argument_without_effect_is_no_hindrance_and_is_found_out(
    probing: Callable[..., Any],
) -> None:
    with probing("python loop.py --test-batch-size {batch_size}", resize=True) as prober:
        prober.load()
        trial = prober.measure(64, FINAL)
    assert trial.fits
    assert prober.passed.own == (8, 64)


def test_what_helps_on_busy_cores_is_set_for_the_runs_that_follow(
    probing: Callable[..., Any],
) -> None:
    with probing("python loop.py --batch-size 16") as prober:
        assert isinstance(prober, AdjustableProber)
        prober.load()
        prober.measure(16, PLAN)
        assert prober.trained.num_threads == 1
        prober.use_variables({"OMP_WAIT_POLICY": "PASSIVE"})
        # The kernel's accounts are coarse, and say nothing of a moment.
        plan = replace(PLAN, num_threads=2, precision_fraction=0.0, max_time_s=0.5)
        trial = prober.measure(16, plan)
        assert prober.starts.variables == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "2"}
        assert prober.trained.num_threads == 2
        prober.measure(64, plan)
        assert prober.starts.num_starts == 2
    assert trial.others_busy_cores is not None or count_usable_cores() != psutil.cpu_count()


def test_no_remedy_is_looked_for_where_each_size_costs_a_start(probing: Callable[..., Any]) -> None:
    with probing("python loop.py --batch-size 16", fresh=True) as prober:
        prober.load()
        assert prober.measure(64, PLAN).others_busy_cores is None

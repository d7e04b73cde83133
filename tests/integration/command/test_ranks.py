"""Processes that train together, whatever has started them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from autobatch.errors import AutobatchError
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Outcome

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs /proc")
PLAN = TimingPlan(min_steps=5, max_time_s=0.2)
MIB = 2**20
TORCHRUN = "python -m torch.distributed.run --nproc-per-node 2"
ACCELERATE = "python -m accelerate.commands.launch --num_machines 1 --mixed_precision no"


@pytest.mark.parametrize("launcher", [TORCHRUN, "python"])
def test_ranks_are_measured_together(probing: Callable[..., Any], launcher: str) -> None:
    spawn = " --spawn 2" if launcher == "python" else ""
    with probing(f"{launcher} ranks.py{spawn} --batch-size 16", num_devices=2) as prober:
        prober.load()
        trial = prober.measure(16, PLAN)
        assert prober.trained.num_ranks == 2
    assert trial.peak_bytes is not None and trial.peak_bytes > 350 * MIB  # of both


def test_the_slowest_rank_is_what_a_step_takes(probing: Callable[..., Any]) -> None:
    # Nothing makes the first rank wait for the second, which sleeps for 50 ms.
    command = f"{TORCHRUN} ranks.py --batch-size 16 --variant apart"
    with probing(command, num_devices=2) as prober:
        prober.load()
        trial = prober.measure(16, PLAN)
    assert trial.step_time_s is not None and trial.step_time_s >= 0.05


def test_a_step_in_which_another_rank_evaluates_does_not_count(
    probing: Callable[..., Any],
) -> None:
    # The second rank, which sees no evaluation, waits for the first for 300 ms in each third step.
    command = f"{TORCHRUN} ranks.py --batch-size 16 --variant evaluates"
    with probing(command, num_devices=2) as prober:
        prober.load()
        trial = prober.measure(16, PLAN)
    assert trial.fits
    assert max(trial.step_times_s) < 0.3


def test_all_are_ended_when_one_rank_runs_out_of_memory(probing: Callable[..., Any]) -> None:
    command = f"{TORCHRUN} --max-restarts 3 ranks.py --batch-size 16 --variant runs_out"
    with probing(command, num_devices=2) as prober:
        prober.load()
        trial = prober.measure(128, PLAN, timeout_s=60)
        assert prober.starts.num_starts == 2
    assert trial.outcome is Outcome.OUT_OF_MEMORY
    assert "in the forward pass" in trial.message


def test_ranks_that_were_not_announced_are_refused(
    refusal: Callable[..., AutobatchError],
) -> None:
    error = refusal("python ranks.py --spawn 2 --batch-size 16")
    assert "2 processes train together" in str(error)
    assert error.hint == "add `num_devices=2`"


def test_a_script_behind_accelerate_launch_is_measured_in_place(
    probing: Callable[..., Any],
) -> None:
    pytest.importorskip("accelerate")
    command = f"{ACCELERATE} --num_processes 1 --cpu accelerated.py --batch-size 16 --accumulate 2"
    with probing(command) as prober:
        loaded = prober.load()
        trial = prober.measure(512, PLAN)
        assert prober.trained.num_passes == 2
        assert prober.starts.num_starts == 1
    assert loaded.workload.base_learning_rate == pytest.approx(1e-3)
    assert loaded.workload.dataset_size == 4096
    assert trial.fits


def test_ranks_behind_accelerate_launch_are_measured_together(
    probing: Callable[..., Any],
) -> None:
    pytest.importorskip("accelerate")
    command = f"{ACCELERATE} --num_processes 2 --multi_gpu accelerated.py --batch-size 16"
    with probing(command, num_devices=2) as prober:
        loaded = prober.load()
        assert prober.trained.num_ranks == 2
        assert prober.measure(16, PLAN).fits
        assert prober.measure(64, PLAN).fits
        assert prober.starts.num_starts == 2
    assert loaded.workload.base_batch_size == 16

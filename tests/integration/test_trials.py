"""Trials of real models in real processes, and every way in which one can go wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from autobatch.errors import WorkloadError
from autobatch.probe.protocol import Purpose
from autobatch.probe.worker.process import find_other_searches
from autobatch.records import Outcome, Precision

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills processes as Linux does")

MIB = 2**20

# What becomes of a trial is decided by its batch size.
PERILS = """
    import ctypes, mmap, os, signal, sys, time
    import numpy

    model = nn.Linear(64, 8)
    dataset = [(torch.randn(64), torch.randn(8))] * 64
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    start = model.weight.detach().clone()
    print("printed while loading")

    def training_step(model, batch):
        size = len(batch[0])
        if size != 9:  # zero times not-a-number is not a number
            assert torch.equal(model.weight, start), "a step or a trial trained the weights"
        loss = nn.functional.mse_loss(model(batch[0]), batch[1])
        if size == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        if size == 5:
            ctypes.string_at(0)
        if size == 6:
            raise LookupError("no sample of the sixth kind")
        if size == 7:
            time.sleep(600)
        if size == 9:
            loss = loss * float("nan")
        if size == 10:
            torch.ones(2**30)
        if size == 11:
            numpy.ones(2**28)
        if size == 12:
            shared = mmap.mmap(-1, 600 * 2**20)
            for offset in range(0, len(shared), mmap.PAGESIZE):
                shared[offset] = 1
            time.sleep(600)
        if size == 13:
            print("printed in a trial")
            os.write(1, b"and past Python\\n")
            sys.stderr.write("and on standard error\\n")
        if size == 14:
            os._exit(0)
        if size == 15:
            sys.exit("done")
        if size == 17:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return loss
"""

THREADS = """
    torch.set_num_threads(3)
    model = nn.Linear(64, 8)
    dataset = [(torch.randn(64), torch.randn(8))] * 64
    told = []  # empty at the start of each trial

    def training_step(model, batch):
        if not told:
            told.append(print(torch.get_num_threads()))
        return nn.functional.mse_loss(model(batch[0]), batch[1])
"""


@pytest.fixture(scope="module")
def perils(probe_once: Callable[..., Any]) -> Any:
    prober = probe_once(
        PERILS,
        memory_limit_bytes=800 * MIB,
        headroom_fraction=0.0,
        variables={"PYTHONUNBUFFERED": ""},  # as on most machines, whatever this one has set
    )
    prober.load()
    return prober


def _still_works(prober: Any) -> bool:
    return bool(prober.measure(2).outcome is Outcome.FITS)


def test_a_size_that_fits_is_measured(perils: Any) -> None:
    trial = perils.measure(4, min_steps=5)
    assert trial.outcome is Outcome.FITS
    assert trial.batch_size == 4
    assert len(trial.step_times_s) >= 5
    assert min(trial.step_times_s) > 0
    assert trial.num_warmup_steps >= 2
    assert 100 * MIB < trial.peak_bytes < 800 * MIB
    assert trial.page_faults_per_step >= 0
    assert 0 <= trial.kernel_time_fraction <= 1
    assert trial.loss_is_finite


def test_the_plan_reaches_the_trial(perils: Any) -> None:
    trial = perils.measure(4, num_warmup_steps=3000, min_steps=7, max_time_s=0.0, round_number=5)
    assert trial.num_warmup_steps == 3000
    assert [timed.number for timed in trial.rounds] == [5]
    assert len(trial.step_times_s) == 7


def test_a_trial_has_the_threads_that_its_plan_says_and_the_next_one_the_workers_own(
    probe: Any,
) -> None:
    threads = probe(THREADS)
    threads.load()
    for num_threads in (1, None, 2):
        threads.measure(4, num_threads=num_threads)
    used = [int(line) for line in threads.printed]
    assert used == [3, 1, 3, 2], "the rehearsal's, then those of each trial"


@pytest.mark.parametrize(("patience_s", "num_timed"), [(20.0, 3), (0.0, 2)])
def test_each_part_of_a_final_run_has_a_peak_the_warm_up_too_where_steps_are_slow(
    perils: Any, patience_s: float, num_timed: int
) -> None:
    parts = {"purpose": Purpose.FINAL, "num_windows": 3}
    trial = perils.measure(4, **parts, min_steps=1, max_time_s=0.0, patience_s=patience_s)
    assert len(trial.window_peaks_bytes) == 3
    assert min(trial.window_peaks_bytes) > 100 * MIB
    assert len(trial.rounds) == num_timed
    assert trial.eval_fits is not None or trial.eval_message


@pytest.mark.parametrize(("size", "allocator"), [(10, "DefaultCPUAllocator"), (11, "")])
def test_out_of_memory_is_an_outcome_and_the_next_trial_runs(
    size: int, allocator: str, perils: Any
) -> None:
    trial = perils.measure(size)
    assert trial.outcome is Outcome.OUT_OF_MEMORY
    assert allocator in trial.message
    assert trial.step_times_s == ()
    assert trial.peak_bytes > 0
    assert _still_works(perils)


def test_memory_that_the_kernels_limit_does_not_see_is_over_budget(perils: Any) -> None:
    trial = perils.measure(12)
    assert trial.outcome is Outcome.OVER_BUDGET
    assert trial.peak_bytes > 800 * MIB
    assert _still_works(perils)


@pytest.mark.parametrize(("size", "name"), [(3, "SIGKILL"), (5, "SIGSEGV")])
def test_a_trial_that_a_signal_ends_was_killed_and_the_next_one_runs(
    size: int, name: str, perils: Any
) -> None:
    worker = perils.worker().pid
    trial = perils.measure(size)
    assert trial.outcome is Outcome.KILLED
    assert name in trial.message
    assert _still_works(perils)
    assert perils.worker().pid == worker  # it was the trial's own process that died


def test_a_trial_that_leaves_the_program_was_killed_and_the_next_one_runs(perils: Any) -> None:
    trial = perils.measure(14)
    assert trial.outcome is Outcome.KILLED
    assert "exit status" in trial.message
    assert _still_works(perils)


def test_an_error_above_the_smallest_size_is_an_outcome(perils: Any) -> None:
    trial = perils.measure(6)
    assert trial.outcome is Outcome.FAILED
    assert trial.message == "LookupError: no sample of the sixth kind"
    assert _still_works(perils)


def test_an_error_at_the_smallest_size_is_raised_with_the_users_frames(
    probe: Callable[..., Any],
) -> None:
    prober = probe(PERILS.replace("size == 6", "size == 1"))
    with pytest.raises(WorkloadError) as caught:
        prober.load()
    assert "LookupError in a trial at batch size 1: no sample" in str(caught.value)
    assert 'raise LookupError("no sample of the sixth kind")' in caught.value.user_traceback
    assert "autobatch/" not in caught.value.user_traceback


def test_a_loss_that_is_not_a_number_fits_and_is_noticed(perils: Any) -> None:
    trial = perils.measure(9)
    assert trial.outcome is Outcome.FITS
    assert not trial.loss_is_finite
    assert perils.measure(4).loss_is_finite


def test_a_trial_that_asks_python_to_exit_has_failed_and_the_next_one_runs(perils: Any) -> None:
    trial = perils.measure(15)
    assert (trial.outcome, trial.message) == (Outcome.FAILED, "SystemExit: done")
    assert _still_works(perils)


def test_after_a_trial_that_lost_the_device_the_worker_is_replaced(perils: Any) -> None:
    worker = perils.worker()
    trial = perils.measure(17)
    assert trial.outcome is Outcome.KILLED
    assert trial.message == "its device was lost: CUDA error: device-side assert triggered"
    assert not worker.is_running()
    assert _still_works(perils)
    assert perils.worker().pid != worker.pid


def test_a_device_lost_at_the_smallest_size_is_an_error_that_says_so(
    probe: Callable[..., Any],
) -> None:
    prober = probe(
        """
        model = nn.Linear(4, 3)
        def batch(batch_size):
            return torch.randn(batch_size, 4), torch.randn(batch_size, 3)
        def training_step(model, batch):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        """
    )
    with pytest.raises(WorkloadError) as caught:
        prober.load()
    assert "batch size 1 left the device unusable: CUDA error: an illegal" in str(caught.value)
    assert "CUDA_LAUNCH_BLOCKING" in caught.value.hint
    assert "raise RuntimeError" in caught.value.user_traceback


def test_a_trial_without_end_times_out_and_the_next_one_runs(perils: Any) -> None:
    worker = perils.worker()
    trial = perils.measure(7, timeout_s=0.5)
    assert trial.outcome is Outcome.TIMED_OUT
    assert "500 ms" in trial.message
    assert _still_works(perils)
    assert perils.worker().pid == worker.pid  # only the trial's own process was ended


def test_what_the_users_code_prints_is_passed_on_and_breaks_nothing(perils: Any) -> None:
    assert perils.measure(13).outcome is Outcome.FITS
    assert _still_works(perils)  # a later reply: all that came before it has been read
    printed = "\n".join(perils.printed)
    for line in ("while loading", "in a trial", "past Python", "on standard error"):
        assert line in printed


def test_no_size_trains_the_weights(perils: Any) -> None:
    # The target itself asserts it; here it is asked for it many times over.
    assert all(perils.measure(size, min_steps=20).fits for size in (2, 4, 8, 16))


def test_the_same_size_gives_the_same_peak_whatever_ran_before(perils: Any) -> None:
    first = perils.measure(16).peak_bytes
    assert perils.measure(10).outcome is Outcome.OUT_OF_MEMORY
    assert perils.measure(16).peak_bytes == pytest.approx(first, rel=0.02)


def test_a_worker_that_is_killed_between_trials_is_replaced(perils: Any) -> None:
    worker = perils.worker()
    worker.send_signal(signal.SIGKILL)
    worker.wait(10)
    assert perils.measure(4).outcome is Outcome.FITS
    assert _still_works(perils)
    assert perils.worker().pid != worker.pid


def test_a_larger_batch_needs_more_memory(probe: Callable[..., Any]) -> None:
    prober = probe(
        """
        model = nn.Sequential(nn.Linear(256, 2048), nn.ReLU(), nn.Linear(2048, 256))
        def batch(batch_size):
            return torch.randn(batch_size, 256), torch.randn(batch_size, 256)
        """,
        memory_limit_bytes=900 * MIB,
        headroom_fraction=0.0,
    )
    prober.load()
    small, large = prober.measure(64).peak_bytes, prober.measure(8192).peak_bytes
    # 2,048 numbers of 4 bytes for each of: the hidden layer and its ReLU.
    assert large - small > 8128 * 2048 * 4 * 2
    assert prober.measure(2**16).outcome in (Outcome.OUT_OF_MEMORY, Outcome.OVER_BUDGET)
    assert prober.measure(64).peak_bytes == pytest.approx(small, rel=0.02)


def test_loader_workers_make_batches_in_trials_and_none_is_left(
    probe: Callable[..., Any],
) -> None:
    prober = probe(
        """
        import os, time
        class Slow(torch.utils.data.Dataset):
            def __len__(self): return 24
            def __getitem__(self, index):
                info = torch.utils.data.get_worker_info()
                time.sleep(0.01)
                return torch.full((4,), float(info.id)), torch.zeros(3)
        model = nn.Linear(4, 3)
        train_loader = torch.utils.data.DataLoader(Slow(), batch_size=4, num_workers=2)
        def training_step(model, batch):
            if len(batch[0]) == 3:
                raise RuntimeError("in the middle of an epoch")
            if len(batch[0]) == 5:
                os.kill(os.getpid(), 9)
            return model(batch[0]).sum()
        """
    )
    loaded = prober.load()
    assert loaded.workload.num_loader_workers == 2
    assert prober.measure(4, min_steps=3).fits
    assert prober.worker().children(recursive=True) == []
    failed = prober.measure(3)
    assert failed.outcome is Outcome.FAILED
    assert "in the middle of an epoch" in failed.message
    assert prober.worker().children(recursive=True) == []
    assert prober.measure(5).outcome is Outcome.KILLED
    assert prober.measure(4).fits


def test_the_time_spent_waiting_for_data_is_seen(probe: Callable[..., Any]) -> None:
    prober = probe(
        """
        import time
        model = nn.Linear(4, 3)
        def batch(batch_size):
            time.sleep(0.05)
            return torch.randn(batch_size, 4), torch.randn(batch_size, 3)
        """
    )
    prober.load()
    trial = prober.measure(4, min_steps=3)
    assert trial.data_time_s >= 0.05
    assert all(
        step >= data
        for timed in trial.rounds
        for step, data in zip(timed.step_times_s, timed.data_times_s, strict=True)
    )


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_a_convolutional_network_trains_in_half_precision_on_the_processor(
    precision: Precision, probe: Callable[..., Any]
) -> None:
    prober = probe(
        """
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
        model[0].register_forward_hook(lambda m, i, output: print("dtype", output.dtype))
        """,
        precision=precision,
        shape=",input=3x8x8,classes=10",
    )
    prober.load()
    trial = prober.measure(8)
    assert trial.fits
    assert trial.loss_is_finite
    dtype = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}[precision.value]
    assert {line for line in prober.printed if line.startswith("dtype")} == {f"dtype {dtype}"}


def test_no_worker_outlives_a_parent_that_was_killed(
    write: Callable[..., str], tmp_path: Path
) -> None:
    target = write(
        """
        import os, time
        model = nn.Linear(4, 3)
        dataset = [(torch.randn(4), torch.randn(3))] * 8
        def training_step(model, batch):
            if len(batch[0]) == 2:
                with open(os.environ["NOTE"], "w") as note:
                    note.write(f"{os.getpid()} {os.getppid()}")
                os.rename(os.environ["NOTE"], os.environ["NOTE"] + ".done")
                time.sleep(600)
            return model(batch[0]).sum()
        """
    )
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                f"""
                from autobatch.probe.client import TargetProber
                from autobatch.probe.protocol import TimingPlan
                from autobatch.records import (Settings)
                with TargetProber({target!r}, Settings(device="cpu")) as prober:
                    prober.load()
                    prober.measure(2, TimingPlan())
                """
            ),
        ],
        env={**os.environ, "NOTE": str(tmp_path / "note")},
    )
    try:
        note = _wait_for(tmp_path / "note.done", parent)
        trial, worker = (psutil.Process(int(pid)) for pid in note.split())
        assert worker.ppid() == parent.pid
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    _, alive = psutil.wait_procs([trial, worker], timeout=20)
    assert alive == []


def _wait_for(file: Path, process: subprocess.Popen[bytes]) -> str:
    import time

    deadline = time.monotonic() + 60
    while not file.exists():
        assert process.poll() is None, "the process ended"
        assert time.monotonic() < deadline, "no sign of a trial"
        time.sleep(0.05)
    return file.read_text()


def test_two_searches_at_once_notice_each_other(probe: Any) -> None:
    code = "model = nn.Linear(8, 3)\ndataset = [(torch.randn(8), 1)] * 64\n"
    mine = probe(code)
    mine.load()
    ours = find_other_searches()
    assert os.getpid() not in ours
    # Another process with a worker, which ends with its standard input.
    start = (
        "import os, sys; from autobatch.probe.worker.process import start_process; "
        "worker = start_process({}); print(os.getpid(), flush=True); sys.stdin.read(); "
        "worker.kill(); worker.wait()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", start], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        pid = int(other.stdout.readline())
        assert pid in find_other_searches()
        assert mine.measure(4).num_other_searches > 0
        other.communicate()
    assert pid not in find_other_searches()

"""What a stage has measured by the time it is killed is in its file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

import autobatch
from autobatch.records import Goal, Outcome, Precision, Settings, TimingRound, Trial
from scripts.gpu.prove import LIMITS_S, read
from scripts.gpu.stages import bench as bench_module
from scripts.gpu.stages import beside, machine, memory, search, survival, truth
from scripts.gpu.stages.__main__ import MODULES
from scripts.gpu.stages.bench import Bench, PlainRun, PlainTraining, find_precision, run_command
from scripts.replay.record import load

Patch = Callable[[pytest.MonkeyPatch], None]
RUN = PlainRun(
    batch_size=1,
    fits=True,
    peaks_bytes=[2],
    allocated_bytes=1,
    retries=[0],
    synchronized_s=[0.1],
    chained_s=0.1,
)
TRIAL = Trial(
    batch_size=4,
    outcome=Outcome.FITS,
    rounds=(TimingRound(number=0, step_times_s=(0.1,), data_times_s=(0.0,)),),
)
CELL = {"batch_size": 1, "sweep": 0, "peak_bytes": 5, "step_times_s": [0.1]}


class Killed(BaseException):
    """Stands for the end of the process: no code of a stage may catch it."""


def then_killed(*results: Any) -> Callable[..., Any]:
    """A function that returns these in turn, and then is killed."""
    left = iter(results)

    def call(*args: Any, **options: Any) -> Any:
        for result in left:
            return result
        raise Killed

    return call


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Bench]]:
    """Make the bench of a stage, which has one thread."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    before = torch.get_num_threads()
    yield lambda stage: Bench(stage, "cpu", tmp_path)
    torch.set_num_threads(before)


def stub_training(monkeypatch: pytest.MonkeyPatch, module: Any, **methods: Any) -> None:
    """Put a plain training of such methods in place of the real one."""
    made = type("Training", (), {name: staticmethod(each) for name, each in methods.items()})
    monkeypatch.setattr(module, "PlainTraining", lambda target, device: made())


def kill_machine(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine, "time_copies", then_killed())


def kill_allocator(patch: pytest.MonkeyPatch) -> None:
    stub_training(patch, memory, run=then_killed(RUN))


def kill_search(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(search, "run_command", then_killed({"exit_status": 0, "time_s": 5.0}))


def kill_truth(patch: pytest.MonkeyPatch) -> None:
    stub_training(patch, truth, run=then_killed(RUN))


def kill_sustained(patch: pytest.MonkeyPatch) -> None:
    stub_training(patch, truth, steps=lambda size: then_killed())


def kill_survival(patch: pytest.MonkeyPatch) -> None:
    prober = type(
        "Prober",
        (nullcontext,),
        {
            "__enter__": lambda self: self,
            "load": lambda self, **options: None,
            "measure": staticmethod(then_killed(TRIAL)),
        },
    )
    patch.setattr(survival, "TargetProber", lambda target, settings: prober())
    patch.setattr(survival, "_NUM_AT_ONCE", 1)


def kill_neighbour(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(beside, "read_budget", then_killed(2**30))
    patch.setattr(beside, "neighbour", lambda *args, **options: nullcontext())


def kill_call(patch: pytest.MonkeyPatch) -> None:
    def find(*args: Any, on_trial: Callable[[Trial], None], **options: Any) -> None:
        on_trial(TRIAL)
        raise Killed

    patch.setattr(autobatch, "find_batch_size", find)


def kill_record(patch: pytest.MonkeyPatch) -> None:
    def sweeps(target: str, seconds: float, settings: Settings) -> Iterator[dict[str, Any]]:
        yield {"device": settings.device, "cells": [CELL]}
        raise Killed

    patch.setattr(search, "record_sweeps", sweeps)


def kill_tests(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(beside.subprocess, "run", then_killed(SimpleNamespace(returncode=0)))


KILLS: dict[str, tuple[Any, Patch, str]] = {
    "machine": (machine.run_machine, kill_machine, "nvml_after"),
    "allocator": (memory.run_allocator, kill_allocator, "targets"),
    "search": (search.run_search, kill_search, "searches"),
    "truth": (truth.run_truth, kill_truth, "targets"),
    "sustained": (truth.run_sustained, kill_sustained, "batch_size"),
    "survival": (survival.run_survival, kill_survival, "out of memory, again and again"),
    "neighbour": (beside.run_neighbour, kill_neighbour, "alone_bytes"),
    "call": (beside.run_call, kill_call, "trial_ends_s"),
    "record": (search.run_record, kill_record, "recording-0.json.xz"),
    "tests": (beside.run_tests, kill_tests, "claims"),
}


@pytest.mark.parametrize("stage", KILLS)
def test_a_stage_that_is_killed_leaves_its_first_figure(
    stage: str,
    bench: Callable[[str], Bench],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, kill, figure = KILLS[stage]
    kill(monkeypatch)
    with pytest.raises(Killed):
        run(bench(stage))
    assert read(tmp_path / f"{stage}.figures.json").get(figure)


def test_no_stage_is_left_out() -> None:
    assert set(LIMITS_S) == set(KILLS) == set(MODULES)


def test_the_first_of_two_fresh_runs_is_kept(
    bench: Callable[[str], Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = {"batch_size": 4, "budget_bytes": 2**30}
    monkeypatch.setattr(truth, "find_answer", lambda bench, target, goal: finding)
    monkeypatch.setattr(truth, "train_fresh", then_killed({"fits": True}))
    with pytest.raises(Killed):
        truth.compare_largest(bench("truth"), "a target")
    figures = read(tmp_path / "truth.figures.json")["a target, largest"]
    assert figures["runs"] == {"1": {"fits": True}}


def test_a_recording_is_of_the_benchs_device_and_can_be_replayed(
    bench: Callable[[str], Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill_record(monkeypatch)
    with pytest.raises(Killed):
        search.run_record(bench("record"))
    assert load(tmp_path / "recording-0.json.xz") == {"device": "cpu", "cells": [CELL]}


def test_what_a_command_says_of_itself_is_in_the_log_before_it_ends(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code = "import sys, time; print('batch 1: fits', file=sys.stderr, flush=True); time.sleep(60)"
    done = run_command([sys.executable, "-c", code], timeout_s=5.0)
    assert done["exit_status"] is None
    assert "batch 1: fits" in capfd.readouterr().err


def test_a_search_shows_its_trials(bench: Callable[[str], Bench], tmp_path: Path) -> None:
    file = tmp_path / "finding.json"
    command = search.make_command(bench("search"), "a target", Goal.MEMORY, file)
    assert not {"-q", "--quiet"} & set(command)
    assert os.fspath(file) in command


def test_a_case_that_cannot_even_start_leaves_the_others(
    bench: Callable[[str], Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(target: str, settings: Settings) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(survival, "TargetProber", start)
    survival.run_survival(bench("survival"))
    claims = read(tmp_path / "survival.figures.json")["claims"]
    assert list(claims.values()) == [[False, "OSError: no more processes"]] * len(survival.CASES)


TRAINED = """
import torch
from torch import nn
model = nn.Linear(4, 4)
batch = lambda size: torch.randn(size, 4)
def training_step(model, batch):
    if len(batch) >= {broken}:
        raise RuntimeError({message!r})
    output = model(batch)
    training_step.dtype = output.dtype
    return output.float().mean()
"""


def train(tmp_path: Path, message: str = "", broken: int = 1000) -> PlainTraining:
    file = tmp_path / "target_file.py"
    file.write_text(TRAINED.format(message=message, broken=broken))
    return PlainTraining(str(file), "cpu")


def test_plain_training_has_the_precision_of_the_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another one neither the largest nor the fastest size would be that of the search."""
    for device, expected in (("cuda:0", Precision.BF16), ("cpu", Precision.FP32)):
        command = search.make_command(
            Bench("search", device, tmp_path), "hf:gpt2", Goal.MEMORY, tmp_path
        )
        assert command[command.index("--precision") + 1] == expected.value
        assert find_precision("hf:gpt2", device) is expected
    for precision, dtype in ((Precision.BF16, torch.bfloat16), (Precision.FP32, torch.float32)):
        monkeypatch.setattr(bench_module, "find_precision", lambda *_, made=precision: made)
        training = train(tmp_path)
        training.run(2, num_steps=1, num_chained=0)
        assert training._task.workload.training_step.dtype is dtype


@pytest.mark.parametrize(
    "message", ["cuDNN error: CUDNN_STATUS_ALLOC_FAILED", "CUDA out of memory. Tried to allocate"]
)
def test_memory_that_runs_out_in_a_library_is_no_error(tmp_path: Path, message: str) -> None:
    training = train(tmp_path, message, broken=8)
    assert [training.run(size, num_steps=1).fits for size in (4, 8, 4)] == [True, False, True]


def test_any_other_error_of_a_plain_training_is_one(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="misaligned address"):
        train(tmp_path, "CUDA error: misaligned address", broken=1).run(1)


def test_a_fresh_run_of_long_steps_is_cut_short(tmp_path: Path) -> None:
    training = train(tmp_path)
    assert len(training.run(2, num_steps=100, num_chained=0, longest_s=0.0).synchronized_s) == 5
    assert len(training.run(2, num_steps=20, num_chained=0).synchronized_s) == 20


def test_an_answer_of_nvml_is_kept_with_all_its_fields() -> None:
    process = pynvml.nvmlFriendlyObject({"pid": 7, "usedGpuMemory": 2**30})
    assert machine.show([process, process]) == f"[{process}, {process}]"
    assert "1073741824" in machine.show([process])
    assert machine.show(pynvml.c_nvmlMemory_t(total=5, free=3, used=2)) == (
        "{'total': '5', 'free': '3', 'used': '2'}"
    )
    assert machine.show([1, 0]) == "[1, 0]"


def test_the_least_cap_is_found_and_lifted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    caps: list[float] = [1.0]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 2**30))
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda cap, device: caps.append(cap)
    )

    class Training:
        def run(self, batch_size: int, *, num_chained: int) -> PlainRun:
            return replace(RUN, fits=caps[-1] >= 0.6, retries=[0, 3])

    run = replace(RUN, batch_size=64, allocated_bytes=2**29, peaks_bytes=[2**30])
    least = memory.find_least_cap(Training(), run, "cuda:0")  # type: ignore[arg-type]
    assert least["cap_bytes"] == pytest.approx(0.6 * 2**30, rel=0.02)
    assert least["cap_bytes"] >= 0.6 * 2**30
    assert (least["batch_size"], least["retries_by_step"]) == (64, [0, 3])
    assert caps[-1] == 1.0


@pytest.mark.parametrize(
    ("fits", "process_bytes", "holding"),
    [((True, False), 104, [True, True]), ((True, True), 110, [False, False])],
)
def test_the_largest_and_its_peak_are_held_against_fresh_processes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fits: tuple[bool, bool],
    process_bytes: int,
    holding: list[bool],
) -> None:
    finding = {"batch_size": 4, "budget_bytes": 2**30, "peak_bytes": 100}
    runs = [{"fits": each, "process_bytes": process_bytes} for each in fits]
    monkeypatch.setattr(truth, "find_answer", lambda bench, target, goal: finding)
    monkeypatch.setattr(truth, "train_fresh", then_killed(*runs))
    truth.compare_largest(Bench("truth", "cuda:0", tmp_path), "a target")
    claims = read(tmp_path / "truth.figures.json")["claims"]
    assert [holds for holds, _ in claims.values()] == holding


@pytest.mark.parametrize(("chosen", "holds"), [(2, True), (1, False)])
def test_the_fastest_is_held_against_chains_of_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: int, holds: bool
) -> None:
    monkeypatch.setattr(truth, "find_answer", lambda *_: {"batch_size": chosen})
    sizes = [{"batch_size": 1, "chained_s": 1.0}, {"batch_size": 2, "chained_s": 1.2}]
    truth.compare_throughput(Bench("truth", "cuda:0", tmp_path), "a target", sizes)
    ((_, claim),) = read(tmp_path / "truth.figures.json")["claims"].items()
    assert claim[0] is holds

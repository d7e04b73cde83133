"""Other processes on the GPU, a call in the middle of a training, and the tests."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

import autobatch
from autobatch.devices.select import select_device
from autobatch.finder import find
from autobatch.probe.client import TargetProber
from autobatch.records import Goal, MemoryBudget, Settings, Trial
from autobatch.workload.task import TrainingTask, load_task, move_to
from scripts.gpu.prove import ROOT
from scripts.gpu.stages.bench import Bench

_HELD_FRACTION = 0.5
_CPU_BYTES = 2**28
# Holds memory, and more of it every second if asked to, for a minute.
_NEIGHBOUR = """
import sys, time, torch
device, num_bytes, step_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
blocks = [torch.ones(num_bytes, dtype=torch.uint8, device=device)]
print("holds", flush=True)
for _ in range(60):
    time.sleep(1)
    if step_bytes:
        blocks.append(torch.ones(step_bytes, dtype=torch.uint8, device=device))
"""


def run_neighbour(bench: Bench) -> None:
    """Budgets and answers beside a process that holds half of what is free, and one that grows."""
    target = bench.targets[0]
    settings = bench.settings(goal=Goal.MEMORY, max_batch_size=None if bench.is_gpu else 8)
    alone_bytes = read_budget(settings)
    held_bytes = round(_HELD_FRACTION * alone_bytes) if bench.is_gpu else _CPU_BYTES
    bench.save(alone_bytes=alone_bytes, held_bytes=held_bytes)
    with neighbour(bench.device, held_bytes):
        compare_budgets(bench, "what a neighbour holds", held_bytes, read_budget(settings))
    held_bytes //= 4
    with neighbour(bench.device, held_bytes, step_bytes=held_bytes // 16):
        with TargetProber(target, settings) as prober:
            finding = find(prober, settings, target=target)
        answer = finding.recommendation
        bench.save(growing={"batch_size": answer.batch_size, "peak_bytes": answer.peak_bytes})
        compare_budgets(bench, "what one that grows holds", held_bytes, finding.budget.budget_bytes)
        is_confirmed = finding.confirmation is not None
        bench.claim(
            "there is an answer beside one that grows", is_confirmed, str(answer.batch_size)
        )


def compare_budgets(bench: Bench, what: str, held_bytes: int, beside_bytes: int) -> None:
    """Claim that memory which another process holds is no part of the budget.

    Args:
        bench: Knows the budget without it.
        what: Whose memory.
        held_bytes: How much it is, at least.
        beside_bytes: The budget beside it.
    """
    missing_bytes = held_bytes - (bench.figures_of(bench.stage)["alone_bytes"] - beside_bytes)
    why = f"held {held_bytes}, missing in the difference {missing_bytes} bytes"
    bench.save(**{f"{what}, budget_bytes": beside_bytes})
    if bench.is_gpu:  # a rehearsal shares its memory with whatever else runs
        bench.claim(f"{what} is no budget", missing_bytes <= 0, why)


def read_budget(settings: Settings) -> int:
    """What a search that begins now would have."""
    bounds = select_device(settings.device).bounds(settings.memory_limit_bytes)
    fraction = settings.headroom_fraction
    return MemoryBudget.from_bounds(bounds, headroom_fraction=fraction).budget_bytes


@contextmanager
def neighbour(device: str, held_bytes: int, step_bytes: int = 0) -> Iterator[None]:
    """Another process that holds memory.

    Args:
        device: Of which device.
        held_bytes: How much from the start.
        step_bytes: How much more every second.
    """
    command = [sys.executable, "-c", _NEIGHBOUR, device, str(held_bytes), str(step_bytes)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "holds\n":
            raise RuntimeError(f"the neighbour could not take {held_bytes} bytes of {device}")
        yield
    finally:
        process.kill()
        process.communicate()


def run_call(bench: Bench) -> None:
    """``find_batch_size`` in the middle of a training."""
    target = bench.targets[-1]
    task = load_task(target, bench.settings(), bench.device)
    model = task.model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    train_step(task, optimizer, bench.device)
    before = fingerprint(model, optimizer)
    ends: list[tuple[int, float]] = []
    begin = time.perf_counter()

    def note(trial: Trial) -> None:
        ends.append((trial.batch_size, time.perf_counter() - begin))
        bench.save(trial_ends_s=ends)

    finding = autobatch.find_batch_size(
        model,
        lambda size: next(task.source.batches(size)),
        optimizer=optimizer,
        training_step=task.loss,
        on_trial=note,
        device=bench.device,
        max_batch_size=64 if bench.is_gpu else 4,
        time_limit="12s",
    )
    time_s = time.perf_counter() - begin
    steps_s = sum(sum(trial.step_times_s) for trial in finding.trials)
    bench.save(batch_size=finding.batch_size, time_s=time_s, steps_s=steps_s)
    bench.claim(
        "a call leaves no trace", fingerprint(model, optimizer) == before, f"{time_s:.1f} s"
    )


def run_tests(bench: Bench) -> None:
    """The tests that need a GPU; those that read the memory of all of it by themselves."""
    common = ["-W", "default", "-p", "no:cacheprovider", "-p", "no:benchmark", "-v"]
    common += ["--require-gpu"] if bench.is_gpu else []
    alone = "tests/gpu/test_devices.py"
    parts = {"alone": ["-n0", alone], "others": ["-n4", f"--ignore={alone}", "tests/gpu"]}
    for name, own in parts.items():
        command = [sys.executable, "-m", "pytest", *common, *own]
        exit_status = subprocess.run(command, cwd=ROOT).returncode  # each result is in the log
        bench.claim(f"tests/gpu pass, {name}", exit_status == 0, f"exit status {exit_status}")


def train_step(task: TrainingTask, optimizer: torch.optim.Optimizer, device: str) -> None:
    """One step, so that the optimizer has state.

    Args:
        task: What to train.
        optimizer: Of its parameters.
        device: Where.
    """
    batch = move_to(next(task.source.batches(2)), torch.device(device))
    task.loss(task.model, batch).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()


def fingerprint(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> str:
    """A hash of all weights, buffers and optimizer state, to the bit.

    Args:
        model: Has the weights.
        optimizer: Has the state.
    """
    digest = hashlib.sha256()
    state = [value for each in optimizer.state.values() for value in each.values()]
    for value in (*model.state_dict().values(), *state):
        if isinstance(value, torch.Tensor):
            tensor = value.detach().cpu().contiguous()
            digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

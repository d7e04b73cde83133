"""What the stages share: the device, the targets, a plain training, and a file of figures."""

from __future__ import annotations

import math
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from autobatch.probe.trial.oom import is_out_of_memory
from autobatch.records import Precision, Settings
from autobatch.workload.task import TrainingTask, load_task, move_to
from scripts.gpu.prove import ROOT, read, write

_REHEARSAL_TARGETS = ("cnn", "gpt")
_TARGETS = ("torchvision:resnet50", "hf:gpt2")
# By the fifth step all that a training holds from step to step is there.
_FEWEST_STEPS = 5


class Bench:
    """A stage at work.

    Args:
        stage: Its name.
        device: Where it runs; ``cpu`` for a rehearsal.
        out: Folder for its files.
    """

    def __init__(self, stage: str, device: str, out: Path) -> None:
        self.stage = stage
        self.device = device
        self.is_gpu = device.startswith("cuda")
        self.out = out
        if not self.is_gpu:  # a rehearsal, beside whatever else the machine does
            os.environ.setdefault("OMP_NUM_THREADS", "1")
            torch.set_num_threads(1)
        self._path = out / f"{stage}.figures.json"
        self._figures: dict[str, Any] = {"device": device, "torch": torch.__version__}
        self._claims: dict[str, list[Any]] = {}
        self._lock = threading.Lock()

    def save(self, **figures: Any) -> None:
        """Add figures to the stage's file at once; any thread may."""
        with self._lock:
            self._figures |= figures
            write(self._path, self._figures)

    def claim(self, name: str, holds: bool, why: str) -> None:
        """Say whether something that must hold does.

        Args:
            name: What.
            holds: Whether it does.
            why: The figures.
        """
        with self._lock:
            self._claims[name] = [holds, why]
            self._figures["claims"] = self._claims
            write(self._path, self._figures)

    def figures_of(self, stage: str) -> dict[str, Any]:
        """What another stage has measured."""
        return read(self.out / f"{stage}.figures.json")

    @property
    def targets(self) -> tuple[str, ...]:
        """What is trained: models that people know on a GPU, small ones in a rehearsal."""
        if self.is_gpu:
            return _TARGETS
        file = ROOT / "scripts" / "gpu" / "workloads.py"
        return tuple(f"{file}:{name}" for name in _REHEARSAL_TARGETS)

    def settings(self, **changes: Any) -> Settings:
        """Settings for this device."""
        return Settings(device=self.device, **changes)


def find_precision(target: str, device: str) -> Precision:
    """The precision that people train a target with on a device.

    Args:
        target: What is trained.
        device: Where.
    """
    is_transformer = target.startswith("hf:")
    return Precision.BF16 if is_transformer and device.startswith("cuda") else Precision.FP32


@dataclass(frozen=True, kw_only=True)
class PlainRun:
    """Plain training at one size.

    Attributes:
        batch_size: The size.
        fits: Whether memory sufficed.
        peaks_bytes: Reserved memory after each step, at its highest.
        allocated_bytes: Memory of tensors, at its highest.
        retries: The allocator's retries after each step.
        synchronized_s: Time of each step with a wait after it.
        chained_s: Mean time of steps that follow each other without a wait.
    """

    batch_size: int
    fits: bool
    peaks_bytes: list[int]
    allocated_bytes: int
    retries: list[int]
    synchronized_s: list[float]
    chained_s: float | None


class PlainTraining:
    """A training loop as a user writes it, without any code of a trial.

    Args:
        target: What to train, in its usual precision.
        device: Where.
    """

    def __init__(self, target: str, device: str) -> None:
        self._device = torch.device(device)
        self._is_bf16 = find_precision(target, device) is Precision.BF16
        self._task: TrainingTask = load_task(target, Settings(device=device), device)

    def run(
        self,
        batch_size: int,
        *,
        num_steps: int = 4,
        num_chained: int = 8,
        longest_s: float = math.inf,
    ) -> PlainRun:
        """Train for some steps, as a process does that has just begun.

        Args:
            batch_size: The size.
            num_steps: Steps with a wait after each.
            num_chained: Steps without.
            longest_s: From when on no more steps with a wait are begun, but for the first few.
        """
        self._forget()
        batches = self._task.source.batches(batch_size)
        peaks, retries, times = [], [], []
        fits, chained_s = True, None
        try:
            for index in range(num_steps):
                if index >= _FEWEST_STEPS and sum(times) > longest_s:
                    break
                begin = time.perf_counter()
                self._step(batches)
                self.wait()
                times.append(time.perf_counter() - begin)
                peaks.append(read_memory("max_memory_reserved", self._device))
                retries.append(read_retries(self._device))
            begin = time.perf_counter()
            for _ in range(num_chained):
                self._step(batches)
            self.wait()
            chained_s = (time.perf_counter() - begin) / num_chained if num_chained else None
        except Exception as error:  # libraries word it in ways of their own
            if not is_out_of_memory(error):
                raise
            fits = False
        return PlainRun(
            batch_size=batch_size,
            fits=fits,
            peaks_bytes=peaks,
            allocated_bytes=read_memory("max_memory_allocated", self._device),
            retries=retries,
            synchronized_s=times,
            chained_s=chained_s,
        )

    def steps(self, batch_size: int) -> Callable[[], None]:
        """A function that makes one step at a size."""
        self._forget()
        batches = self._task.source.batches(batch_size)
        return lambda: self._step(batches)

    def wait(self) -> None:
        """Wait for the device."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)

    def _step(self, batches: Iterator[Any]) -> None:
        batch = move_to(next(batches), self._device)
        with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._is_bf16):
            loss = self._task.loss(self._task.model, batch)
        self._task.built.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._task.built.optimizer.step()

    def _forget(self) -> None:
        self._task.built.optimizer.zero_grad()
        self._task.built.optimizer.state.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self._device)


def read_memory(name: str, device: torch.device) -> int:
    """A figure of ``torch.cuda``; 0 in a rehearsal.

    Args:
        name: Its name there.
        device: Of which device.
    """
    return int(getattr(torch.cuda, name)(device)) if device.type == "cuda" else 0


def read_retries(device: torch.device) -> int:
    """The allocator's retries so far; 0 in a rehearsal."""
    if device.type != "cuda":
        return 0
    return int(torch.cuda.memory_stats(device).get("num_alloc_retries", 0))


def run_command(command: list[str], *, timeout_s: float) -> dict[str, Any]:
    """Run a command from the root of the tree; its standard error goes to the stage's log.

    Args:
        command: The command.
        timeout_s: When to give up.

    Returns:
        Exit status (``None`` if it was given up), time, and the end of standard output.
    """
    begin = time.perf_counter()
    exit_status: int | None = None
    stdout = ""
    with suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=timeout_s
        )
        exit_status, stdout = done.returncode, done.stdout
    return {
        "exit_status": exit_status,
        "time_s": time.perf_counter() - begin,
        "stdout": stdout[-3000:],
    }

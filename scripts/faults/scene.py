"""One run of the fault campaign: what is run, where, and what strikes it when. Linux only."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

MARK_NAME = "AUTOBATCH_FAULT_MARK"
# From the first import, or the first step, to after the answer.
_LONGEST_DELAY_S = 6.0

_TARGET = """
import ctypes, os, time
import torch

kept = []


def strike(size):
    open(os.environ["{mark}"], "w").close()
    {fault}


{on_load}
model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 4))
dataset = [(torch.randn(64), number % 4) for number in range(512)]
num_steps = 0


def training_step(model, batch):
    global num_steps
    inputs, targets = batch
    size = len(inputs)
    num_steps += 1
    if num_steps == 1 and "{mark}" in os.environ:
        open(os.environ["{mark}"] + "-ran", "w").close()
    time.sleep({step_s})
    if {condition}:
        strike(size)
    return torch.nn.functional.cross_entropy(model(inputs), targets)
"""


@dataclass(kw_only=True)
class Scene:
    """One run: what is run, and what strikes it.

    Attributes:
        folder: The working folder, searched afterwards for what was left behind.
        mark: A file that exists once the fault has struck.
        random: Decides everything that is left open.
        stack: What has to be undone afterwards.
        arguments: Of autobatch.
        output: The file that was asked for.
        strike: Is called once the process has started.
        delay_s: When it strikes.
        file_size_limit: For every file that the process writes.
        stdout_is_full: Whether standard output takes nothing.
        cannot_save: Whether the file that was asked for cannot be written.
    """

    folder: Path
    mark: Path
    random: Random
    stack: ExitStack
    arguments: list[str] = field(default_factory=list)
    output: Path | None = None
    strike: Callable[[subprocess.Popen[str]], None] | None = None
    delay_s: float = 0.0
    file_size_limit: int | None = None
    stdout_is_full: bool = False
    cannot_save: bool = False

    def probe(
        self,
        fault: str = "pass",
        condition: str = "False",
        *,
        on_load: str = "",
        may_save: bool = True,
    ) -> None:
        """Write the target, and choose the options of a search."""
        text = _TARGET.format(
            mark=MARK_NAME,
            fault=fault,
            condition=condition,
            on_load=on_load,
            step_s=self.random.choice((0.0, 0.005, 0.02)),
        )
        (self.folder / "target.py").write_text(text)
        goal = self.random.choice(("throughput", "memory"))
        largest = self.random.choice((16, 32, 64))
        self.arguments = ["probe", "target.py", "--json", "--goal", goal]
        self.arguments += ["--max-batch-size", str(largest), "--time-limit", "20s"]
        if may_save and self.random.random() < 0.7:
            self.save_to(self.folder / "finding.json")

    def save_to(self, path: Path) -> None:
        """Ask for the finding in a file."""
        self.output = path
        self.arguments += ["-o", str(path)]

    def strike_later(self, strike: Callable[[subprocess.Popen[str]], None]) -> None:
        """Have something done to the process at a random moment, mostly after the first step."""
        self.delay_s = self.random.uniform(0.1, _LONGEST_DELAY_S)
        is_late = self.random.random() < 0.7
        has_run = self.mark.with_name(f"{self.mark.name}-ran")

        def wait_and_strike(process: subprocess.Popen[str]) -> None:
            while is_late and not has_run.exists() and process.poll() is None:
                time.sleep(0.01)
            time.sleep(self.delay_s)
            with suppress(ProcessLookupError, psutil.Error):
                strike(process)

        self.strike = wait_and_strike

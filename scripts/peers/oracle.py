"""The oracle: every power of two run and timed in turn, by the same code for all finders.

Each run is a fork of a process that has loaded the workload and never trained, and each round has
such a process of its own, since what its heap happens to look like favours some sizes
(docs/benchmark.md). A run trains with batches from a loader, as a finder's trials do, and the time
of a step has the fetching of its batch in it. A size that fails has a throughput of nought.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import torch

from scripts.peers.workloads import Workload

_NUM_WARMUP_STEPS = 2
_MIN_STEPS = 3
_CONFIRMATION_STEPS = 12
_TIME_S = 0.5
# Time after which fewer steps will do: slow ones say enough.
_PATIENCE_S = 3.0
_LONGEST_RUN_S = 120
_ENOUGH_FAILURES = 2


@dataclass(frozen=True, kw_only=True)
class Run:
    """One size, run in a process of its own.

    Attributes:
        samples_per_s: At the median step; nought if it failed.
        peak_bytes: Highest resident memory of the process.
        message: Why it failed, or empty.
    """

    samples_per_s: float
    peak_bytes: int
    message: str = ""


def survey(workload: Workload, chosen: list[int]) -> dict[str, Any]:
    """Every size once, and the largest that fits.

    Args:
        workload: What to train; nothing may have been trained in this process.
        chosen: Sizes to time beside the powers of two.

    Returns:
        ``rates``, throughputs by size, in samples per second; ``largest``, the size;
        ``dataset_size``; ``peaks_bytes`` and ``messages`` by size. Keys are text, as in JSON.
    """
    runs = run_all(workload, chosen)
    return {
        "rates": {str(size): run.samples_per_s for size, run in runs.items()},
        "largest": confirm_largest(workload, runs),
        "dataset_size": len(workload.dataset),
        "peaks_bytes": {str(size): run.peak_bytes for size, run in runs.items()},
        "messages": {str(size): run.message for size, run in runs.items() if run.message},
    }


def time_round(workload: Workload, sizes: list[int]) -> dict[str, Any]:
    """``rates`` of the sizes, in samples per second, once each and in this order."""
    return {"rates": {str(size): run_size(workload, size).samples_per_s for size in sizes}}


def run_all(workload: Workload, chosen: list[int]) -> dict[int, Run]:
    """Every size once, from the smallest up, until two powers of two in a row have failed."""
    powers = [2**exponent for exponent in range(len(workload.dataset).bit_length())]
    grid = sorted({*powers, len(workload.dataset)})
    runs: dict[int, Run] = {}
    num_failures = 0
    for size in sorted({*grid, *chosen}):
        if num_failures < _ENOUGH_FAILURES or size in chosen:
            runs[size] = run_size(workload, size)
            _report(f"{size}: {runs[size]}")
            if size in grid:
                num_failures = 0 if runs[size].samples_per_s > 0 else num_failures + 1
    return runs


def confirm_largest(workload: Workload, runs: dict[int, Run]) -> int:
    """Largest of the powers of two and the dataset's size that bears a longer run too."""
    dataset_size = len(workload.dataset)
    for size in sorted((size for size in runs if size <= dataset_size), reverse=True):
        is_on_grid = size & (size - 1) == 0 or size == dataset_size
        if is_on_grid and runs[size].samples_per_s > 0:
            run = run_size(workload, size, min_steps=_CONFIRMATION_STEPS)
            if run.samples_per_s > 0:
                return size
    return 0


def run_size(workload: Workload, batch_size: int, *, min_steps: int = _MIN_STEPS) -> Run:
    """One size in a fork of this process."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        signal.alarm(_LONGEST_RUN_S)
        try:
            reply: dict[str, Any] = {"step_times_s": _time_steps(workload, batch_size, min_steps)}
        except Exception as error:
            reply = {"message": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        os.write(writer, json.dumps(reply).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    _, status, usage = os.wait4(process, 0)
    peak_bytes = usage.ru_maxrss * 1024
    if not text:
        code = os.waitstatus_to_exitcode(status)
        reason = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return Run(samples_per_s=0.0, peak_bytes=peak_bytes, message=f"ended by {reason}")
    reply = json.loads(text)
    if "message" in reply:
        return Run(samples_per_s=0.0, peak_bytes=peak_bytes, message=reply["message"])
    rate = _cap(workload, batch_size) / statistics.median(reply["step_times_s"])
    return Run(samples_per_s=rate, peak_bytes=peak_bytes)


def _time_steps(workload: Workload, batch_size: int, min_steps: int) -> list[float]:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    workload.model.train()
    loader = workload.make_loader(_cap(workload, batch_size))
    batches = chain.from_iterable(repeat(loader))
    for _ in range(_NUM_WARMUP_STEPS):
        workload.step(next(batches))
    times: list[float] = []
    while sum(times) < (_TIME_S if len(times) >= min_steps else _PATIENCE_S):
        begin = time.perf_counter()
        workload.step(next(batches))
        times.append(time.perf_counter() - begin)
    return times


def _cap(workload: Workload, batch_size: int) -> int:
    """What a batch of this size has in it, where the dataset is smaller."""
    return min(batch_size, len(workload.dataset))


def _report(text: str) -> None:
    print(f"    {text}", file=sys.stderr, flush=True)

"""Timings of all sizes of a target, sweep after sweep, each run in a process of its own.

A machine's mood differs more from hour to hour than two versions of a search do. So timings are
recorded once, and searches are replayed from them.

    python -m scripts.replay.record [--seconds 60] [--device cuda:0] [--folder FOLDER] TARGET ...
"""

from __future__ import annotations

import argparse
import json
import lzma
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from autobatch.decide.grid import make_grid
from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import Loaded, TimingPlan
from autobatch.records import Settings

DEVICE = Settings().device
RECORDINGS = Path(__file__).parent / "recordings"
_PLAN = TimingPlan(max_time_s=0.25, precision_fraction=0, patience_s=1.5)
# Sizes this much slower than the fastest are recorded in every third sweep alone.
_SLOW_RATIO = 0.5
_SLOW_INTERVAL = 3
_LONGEST_STEP_S = 2.0
# Steps of a run that are kept: a search times fewer.
_MAX_STEPS = 40


def main() -> int:
    """Record targets, a file each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="for each target")
    parser.add_argument("--device", default=DEVICE)
    parser.add_argument("--folder", type=Path, default=RECORDINGS)
    parser.add_argument("targets", nargs="+")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for target in arguments.targets:
        path = arguments.folder / f"{Path(target).stem}.json.xz"
        settings = Settings(device=arguments.device)
        for recording in record_sweeps(target, arguments.seconds, settings):
            save(recording, path)
        print(f"{path}: {len(recording['cells'])} runs", file=sys.stderr, flush=True)
    return 0


def save(recording: dict[str, Any], path: Path) -> None:
    """Write a recording, compressed."""
    path.write_bytes(lzma.compress(json.dumps(recording, separators=(",", ":")).encode()))


def load(path: Path) -> dict[str, Any]:
    """Read a recording."""
    recording: dict[str, Any] = json.loads(lzma.decompress(path.read_bytes()))
    return recording


def record(target: str, seconds: float, device: str = DEVICE) -> dict[str, Any]:
    """Time all sizes in turn until the time is over.

    Args:
        target: What to train.
        seconds: For how long; two sweeps at least.
        device: Where.
    """
    *_, recording = record_sweeps(target, seconds, Settings(device=device))
    return recording


def record_sweeps(target: str, seconds: float, settings: Settings) -> Iterator[dict[str, Any]]:
    """As ``record``, with what there is after each sweep.

    Args:
        target: The same.
        seconds: The same.
        settings: Where, and in which precision.
    """
    cells: list[dict[str, Any]] = []
    with TargetProber(target, settings) as prober:
        loaded = prober.load()
        grid = make_grid(settings, loaded.workload.dataset_size, loaded.smallest_batch_size)
        sizes, sweep, begin = list(grid.sizes), 0, time.monotonic()
        while sweep < 2 or time.monotonic() - begin < seconds:
            rates = sweep_once(prober, sizes, sweep, cells)
            yield {**describe(loaded), "cells": cells}
            sweep += 1
            if sweep % _SLOW_INTERVAL == 0:
                sizes = list(summarize(cells))
            else:
                least = _SLOW_RATIO * max(rates.values(), default=0.0)
                sizes = [size for size in rates if rates[size] > least]


def sweep_once(
    prober: TargetProber, sizes: Sequence[int], sweep: int, cells: list[dict[str, Any]]
) -> dict[int, float]:
    """Run each size once, up to one that does not fit or is slow.

    Args:
        prober: Has loaded the target.
        sizes: In this order.
        sweep: Number of the sweep.
        cells: Receives a cell for each run.

    Returns:
        Samples per second by size.
    """
    rates = {}
    for size in sizes:
        trial = prober.measure(size, _PLAN)
        if not trial.fits or (trial.step_time_s or 0.0) > _LONGEST_STEP_S:
            break
        cell = {"batch_size": size, "sweep": sweep, "peak_bytes": trial.peak_bytes}
        times_s = [float(f"{each:.5g}") for each in trial.step_times_s[:_MAX_STEPS]]
        cells.append({**cell, "step_times_s": times_s})
        rates[size] = trial.samples_per_s or 0.0
    return rates


def describe(loaded: Loaded) -> dict[str, Any]:
    """What a recording says about its target and its machine."""
    environment = loaded.environment
    return {
        "date": date.today().isoformat(),
        "device": environment.device_name,
        "num_cores": environment.num_cores,
        "torch": environment.torch_version,
        "dataset_size": loaded.workload.dataset_size,
        "smallest_batch_size": loaded.smallest_batch_size,
        "budget_bytes": loaded.budget.budget_bytes,
    }


def summarize(cells: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Samples per second by batch size, as the median over the sweeps."""
    times_s: dict[int, list[float]] = {}
    for cell in cells:
        times_s.setdefault(cell["batch_size"], []).append(statistics.median(cell["step_times_s"]))
    return {size: size / statistics.median(each) for size, each in sorted(times_s.items())}


if __name__ == "__main__":
    sys.exit(main())

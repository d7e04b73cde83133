"""Searches replayed from recorded timings: what a change of the search does, whatever the machine.

A machine's mood differs more from hour to hour than two versions of a search do. So the timings
of all sizes are recorded once, sweep after sweep, each run in a process of its own. A replay draws
from them: a first run of a size is that of some sweep, sizes that are timed in turn share one. Its
clock counts recorded steps and the start of a process. The same folder can be replayed by two
checkouts, and the same seeds begin the same searches.

    python -m scripts.replay.replay record [--seconds 60] FOLDER TARGET ...
    python -m scripts.replay.replay replay [--searches 24] [--noise 2] FOLDER
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from autobatch.decide.grid import make_grid
from autobatch.finder import find
from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Settings, Trial
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload
from scripts.claims.repeats import share_about_commonest
from scripts.workbench import print_table

_PLAN = TimingPlan(max_time_s=0.25, precision_fraction=0, patience_s=1.5)
# Sizes this much slower than the fastest are recorded in every third sweep alone.
_SLOW_RATIO = 0.5
_SLOW_INTERVAL = 3
_LONGEST_STEP_S = 2.0
# Fork, first batch and the reply, as recorded for six examples: 0.07 to 0.11 s.
_START_TIME_S = 0.08
_TOLERANCE = 0.055


def main() -> int:
    """Record or replay."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    recording = commands.add_parser("record")
    recording.add_argument("--seconds", type=float, default=60.0, help="for each target")
    recording.add_argument("folder", type=Path)
    recording.add_argument("targets", nargs="+")
    recording.set_defaults(run=record_all)
    replaying = commands.add_parser("replay")
    replaying.add_argument("--searches", type=int, default=24, help="of each recording")
    replaying.add_argument("--noise", type=float, default=1.0, help="times that recorded")
    replaying.add_argument("folder", type=Path)
    replaying.set_defaults(run=replay_all)
    arguments = parser.parse_args()
    arguments.run(arguments)
    return 0


def record_all(arguments: argparse.Namespace) -> None:
    """Record every target, a file each."""
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for target in arguments.targets:
        recording = record(target, arguments.seconds)
        path = arguments.folder / f"{Path(target).stem}.json"
        path.write_text(json.dumps(recording))
        print(f"{path}: {len(recording['cells'])} runs", file=sys.stderr, flush=True)


def record(target: str, seconds: float) -> dict[str, Any]:
    """Time all sizes in turn until the time is over."""
    settings = Settings()
    cells: list[dict[str, Any]] = []
    with TargetProber(target, settings) as prober:
        loaded = prober.load()
        grid = make_grid(settings, loaded.workload.dataset_size, loaded.smallest_batch_size)
        sizes, sweep, begin = list(grid.sizes), 0, time.monotonic()
        while sweep < 2 or time.monotonic() - begin < seconds:
            rates = {}
            for size in sizes:
                trial = prober.measure(size, _PLAN)
                if not trial.fits or (trial.step_time_s or 0.0) > _LONGEST_STEP_S:
                    break
                cell = {"batch_size": size, "sweep": sweep, "peak_bytes": trial.peak_bytes}
                cells.append({**cell, "step_times_s": trial.step_times_s})
                rates[size] = trial.samples_per_s or 0.0
            sweep += 1
            if sweep % _SLOW_INTERVAL == 0:
                sizes = list(summarize(cells))
            else:
                least = _SLOW_RATIO * max(rates.values(), default=0.0)
                sizes = [size for size in rates if rates[size] > least]
    return {
        "dataset_size": loaded.workload.dataset_size,
        "smallest_batch_size": loaded.smallest_batch_size,
        "budget_bytes": loaded.budget.budget_bytes,
        "cells": cells,
    }


def summarize(cells: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Samples per second by batch size, as the median over the sweeps."""
    times_s: dict[int, list[float]] = {}
    for cell in cells:
        times_s.setdefault(cell["batch_size"], []).append(statistics.median(cell["step_times_s"]))
    return {size: size / statistics.median(each) for size, each in sorted(times_s.items())}


class RecordedProber(SimulatedProber):
    """Runs whose steps take what recorded ones took.

    Args:
        recording: As ``record`` makes it.
        seed: Of what is drawn.
        noise: What deviations from a size's median are to be multiplied with, as logs.
    """

    def __init__(self, recording: dict[str, Any], seed: int, *, noise: float = 1.0) -> None:
        cells = recording["cells"]
        peaks = {cell["batch_size"]: cell["peak_bytes"] for cell in cells}
        largest = max(peaks)
        workload = SimulatedWorkload(
            peak_bytes=lambda size: peaks[min(size, largest)] * max(1, size // largest),
            step_time_s=self._next_step_s,
            dataset_size=recording["dataset_size"],
            smallest_batch_size=recording["smallest_batch_size"],
        )
        capacity_bytes = round(recording["budget_bytes"] / (1 - Settings().headroom_fraction))
        super().__init__(workload, SimulatedDevice(capacity_bytes), seed=seed)
        self._runs: dict[int, dict[int, Sequence[float]]] = {}
        for cell in cells:
            runs = self._runs.setdefault(cell["batch_size"], {})
            runs[cell["sweep"]] = cell["step_times_s"]
        self._every_sweep = sorted({cell["sweep"] for cell in cells})
        self._rates = summarize(cells)
        self._largest = largest
        self._noise = noise
        self._sweeps: dict[int, int] = {}
        self._steps_s: Sequence[float] = ()
        self._num_steps = 0

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size, with the steps of one recorded run of it."""
        self.elapsed_s += _START_TIME_S
        self._draw(min(batch_size, self._largest), plan.round_number)
        return super().measure(batch_size, plan, timeout_s=timeout_s)

    def _draw(self, size: int, round_number: int) -> None:
        runs = self._runs[size]
        sweep = self._random.choice(self._every_sweep)
        if round_number:
            sweep = self._sweeps.setdefault(round_number, sweep)
        self._steps_s = runs.get(sweep) or self._random.choice(list(runs.values()))
        self._num_steps = self._random.randrange(len(self._steps_s))

    def _next_step_s(self, batch_size: int) -> float:
        recorded_s = self._steps_s[self._num_steps % len(self._steps_s)]
        self._num_steps += 1
        size = min(batch_size, self._largest)
        usual_s = size / self._rates[size]
        return usual_s * math.exp(self._noise * math.log(recorded_s / usual_s)) * batch_size / size


def replay_all(arguments: argparse.Namespace) -> None:
    """Replay searches of every recording and print."""
    rows, shares = [], []
    for path in sorted(arguments.folder.glob("*.json")):
        recording = json.loads(path.read_text())
        search = partial(replay, recording, noise=arguments.noise)
        with ProcessPoolExecutor() as pool:
            results = list(pool.map(search, range(arguments.searches)))
        rates = summarize(recording["cells"])
        best = max(rates.values())
        ratios = [rates.get(size, rates[max(rates)]) / best for size, _ in results]
        answers = Counter(size for size, _ in results)
        num_slow = sum(ratio < 1 - _TOLERANCE for ratio in ratios)
        shares.append(
            (
                statistics.mean(ratios),
                num_slow / len(ratios),
                share_of_two(answers, sorted({*rates, *answers})),
                share_about_commonest(answers, sorted({*rates, *answers})),
                statistics.median(seconds for _, seconds in results),
            )
        )
        listed = ", ".join(f"{size} x{answers[size]}" for size in sorted(answers))
        rows.append((path.stem, *_show(shares[-1]), listed))
    means = [statistics.mean(column) for column in zip(*shares, strict=True)]
    rows.append(("all", *_show(means), ""))
    header = (
        "recording", "rate / best", "slower by 5.5 %", "in two sizes", "about commonest",
        "search, s", "answers",
    )  # fmt: skip
    print_table("replayed searches", header, rows)


def replay(recording: dict[str, Any], seed: int, *, noise: float) -> tuple[int, float]:
    """One search; its answer, and the seconds that it would have taken."""
    prober = RecordedProber(recording, seed, noise=noise)
    finding = find(prober, Settings(), target="recorded", clock=prober.clock)
    return finding.batch_size, prober.elapsed_s


def share_of_two(answers: Counter[int], sizes: Sequence[int]) -> float:
    """Largest share of answers that two sizes next to each other have between them."""
    pairs = zip(sizes, [*sizes[1:], sizes[-1]], strict=True)
    return max(answers[a] + answers[b] * (a != b) for a, b in pairs) / answers.total()


def _show(figures: Sequence[float]) -> tuple[str, ...]:
    *shares, seconds = figures
    return (*map("{:.3f}".format, shares), f"{seconds:.1f}")


if __name__ == "__main__":
    sys.exit(main())

"""Does ``--goal memory`` find what an exhaustive run over all powers of two finds?

For each example and each of three memory limits, the search runs, and then every power of two
and the dataset's own size under the same limit, for as many steps as the search confirms its
answer with, and three times over where the peak comes within 5 % of the budget. Where the two
differ, the larger of the sizes runs six times more: if it fits now and then, its peak varies
across the budget and neither answer is wrong ("either"). Exit status 1 if any answer differs
otherwise.

With several processes that train together, the limit is multiplied by their number.

    python -m scripts.claims.largest [EXAMPLE ...]
    python -m scripts.claims.largest --nproc-per-node 2 --parallel fsdp2 regression_mlp
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from autobatch.decide.grid import make_grid
from autobatch.errors import NothingFitsError
from autobatch.finder import find
from autobatch.finder.plans import FINAL_PLAN
from autobatch.probe.client import TargetProber
from autobatch.ranks.prober import GroupProber
from autobatch.ranks.settings import Parallel, RanksSettings
from autobatch.records import Goal, Settings, Trial
from autobatch.units import format_bytes, parse_bytes
from scripts.workbench import MEMORY_LIMITS, example_path, make_parser, print_table, report

AnyProber: TypeAlias = "TargetProber | GroupProber"

# Memory of these examples only grows: after so many failures in a row the rest is left out.
_ENOUGH_FAILURES = 3
_NUM_REPEATS = 6
_CLOSE = 0.95
_NUM_CLOSE_RUNS = 3


def main() -> int:
    """Compare all and print."""
    parser = make_parser(__doc__, MEMORY_LIMITS)
    parser.add_argument("--nproc-per-node", type=int, default=1)
    parser.add_argument("--parallel", type=Parallel, default=Parallel.DDP)
    arguments = parser.parse_args()
    ranks = RanksSettings(nproc_per_node=arguments.nproc_per_node, parallel=arguments.parallel)
    rows = []
    num_different = 0
    for name in arguments.examples:
        for limit in MEMORY_LIMITS[name]:
            settings = Settings(
                device="cpu" if ranks.nproc_per_node > 1 else "auto",
                goal=Goal.MEMORY,
                memory_limit_bytes=parse_bytes(limit) * ranks.nproc_per_node,
                num_devices=ranks.nproc_per_node,
            )
            make = partial(make_prober, example_path(name), settings, ranks)
            found, num_trials, num_failures = search(make, settings, name)
            largest, margin = run_all(make, settings)
            verdict = judge(make, found, largest)
            num_different += verdict == "DIFFERENT"
            rows.append((name, limit, found, largest, margin, num_trials, num_failures, verdict))
            report(*rows[-1])
    header = ("example", "limit", "search", "exhaustive", "closest", "trials", "failed", "")
    print_table("largest batch size under a memory limit", header, rows)
    print(f"{len(rows)} searches, {num_different} different")
    return 1 if num_different else 0


def make_prober(target: str, settings: Settings, ranks: RanksSettings) -> AnyProber:
    """What runs the target: one process, or several."""
    if ranks.nproc_per_node == 1:
        return TargetProber(target, settings)
    return GroupProber.of_target(target, settings, ranks)


def search(make: Callable[[], AnyProber], settings: Settings, target: str) -> tuple[int, int, int]:
    """Largest size by the search, trials made, and how many of them did not fit."""
    with make() as prober:
        try:
            trials = find(prober, settings, target=target).trials
        except NothingFitsError as error:
            trials = error.trials
    failures = [trial for trial in trials if not trial.fits]
    largest = max((trial.batch_size for trial in trials if trial.fits), default=0)
    return largest, len(trials), len(failures)


def run_all(make: Callable[[], AnyProber], settings: Settings) -> tuple[int, str]:
    """Largest size by running all, and how close any peak came to the budget."""
    with make() as prober:
        loaded = prober.load()
        grid = make_grid(settings, loaded.workload.dataset_size, loaded.smallest_batch_size)
        trials = []
        for size in grid.sizes:
            trials.append(run(prober, size, loaded.budget.budget_bytes))
            if not any(trial.fits for trial in trials[-_ENOUGH_FAILURES:]):
                break
    budget = loaded.budget.budget_bytes
    distances = [abs(trial.peak_bytes - budget) for trial in trials if trial.peak_bytes]
    largest = max((trial.batch_size for trial in trials if trial.fits), default=0)
    return largest, format_bytes(min(distances))


def run(prober: AnyProber, size: int, budget_bytes: int) -> Trial:
    """One size as the search would confirm it: every run has to fit."""
    trial = prober.measure(size, FINAL_PLAN)
    for _ in range(_NUM_CLOSE_RUNS - 1):
        if trial.fits and (trial.peak_bytes or 0) > _CLOSE * budget_bytes:
            again = prober.measure(size, FINAL_PLAN)
            trial = trial.confirmed_by(again) if again.fits else again
    return trial


def judge(make: Callable[[], AnyProber], found: int, largest: int) -> str:
    """Whether two answers differ by more than the peak varies from run to run."""
    if found == largest:
        return "same"
    with make() as prober:
        prober.load()
        runs = [prober.measure(max(found, largest), FINAL_PLAN) for _ in range(_NUM_REPEATS)]
    num_fitting = sum(trial.fits for trial in runs)
    if num_fitting in (0, _NUM_REPEATS):
        return "DIFFERENT"
    return f"either: {num_fitting} of {_NUM_REPEATS} fit"


if __name__ == "__main__":
    sys.exit(main())

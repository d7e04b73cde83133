"""Does ``--goal memory`` find what an exhaustive run over all powers of two finds?

For each example and each of three memory limits, the search runs, and then every power of two
and the data set's own size under the same limit, for as many steps as the search confirms its
answer with. Exit status 1 if any answer differs.

    python scripts/check_largest.py [EXAMPLE ...]
"""

from __future__ import annotations

import sys

from workbench import MEMORY_LIMITS, example_path, print_table

from autobatch.errors import NothingFitsError
from autobatch.finder import find
from autobatch.finder.session import CONFIRMATION_PLAN
from autobatch.probe.client import TargetProber
from autobatch.records import Goal, Settings
from autobatch.search.grid import make_grid
from autobatch.units import format_bytes, parse_bytes

# Memory of these examples only grows: after so many failures in a row the rest is left out.
_ENOUGH_FAILURES = 3


def main() -> int:
    """Compare all and print."""
    rows = []
    num_different = 0
    for name in sys.argv[1:] or MEMORY_LIMITS:
        for limit in MEMORY_LIMITS[name]:
            settings = Settings(goal=Goal.MEMORY, memory_limit_bytes=parse_bytes(limit))
            found, num_trials, num_failures = search(example_path(name), settings)
            largest, margin = run_all(example_path(name), settings)
            num_different += found != largest
            verdict = "same" if found == largest else "DIFFERENT"
            rows.append((name, limit, found, largest, margin, num_trials, num_failures, verdict))
            print(*rows[-1], sep="\t", file=sys.stderr, flush=True)
    header = ("example", "limit", "search", "exhaustive", "closest", "trials", "failed", "")
    print_table("largest batch size under a memory limit", header, rows)
    print(f"{len(rows)} searches, {num_different} different")
    return 1 if num_different else 0


def search(target: str, settings: Settings) -> tuple[int, int, int]:
    """Largest size by the search, trials made, and how many of them did not fit."""
    with TargetProber(target, settings) as prober:
        try:
            trials = find(prober, settings, target=target).trials
        except NothingFitsError as error:
            trials = error.trials
    failures = [trial for trial in trials if not trial.fits]
    largest = max((trial.batch_size for trial in trials if trial.fits), default=0)
    return largest, len(trials), len(failures)


def run_all(target: str, settings: Settings) -> tuple[int, str]:
    """Largest size by running all, and how close any peak came to the budget."""
    with TargetProber(target, settings) as prober:
        loaded = prober.load()
        grid = make_grid(settings, loaded.workload.dataset_size, loaded.smallest_batch_size)
        trials = []
        for size in grid.sizes:
            trials.append(prober.measure(size, CONFIRMATION_PLAN))
            if not any(trial.fits for trial in trials[-_ENOUGH_FAILURES:]):
                break
    budget = loaded.budget.budget_bytes
    distances = [abs(trial.peak_bytes - budget) for trial in trials if trial.peak_bytes]
    largest = max((trial.batch_size for trial in trials if trial.fits), default=0)
    return largest, format_bytes(min(distances))


if __name__ == "__main__":
    sys.exit(main())

"""Is the chosen size within 5 % of the fastest of all sizes, timed in the same run?

For each example the search runs; then all powers of two up to the dataset's size are timed in
turn (A B C A B C ...), each time in a process of its own, forked from one that is started anew for
every round: what its heap happens to look like favours some sizes (docs/benchmark.md). The
throughput of the chosen size is divided by that of the fastest. A size whose median is slower than
the best by more than 30 % is not timed again, and beyond two such sizes in a row, or a step of
over 5 s, none is. The fastest of several noisy medians is partly the luckiest: it is picked from
one half of the rounds and the ratio taken from the other half, both ways round. Rounds are added
while the interval of the median ratio holds 0.95.

    python -m scripts.claims.throughput [--rounds 10] [EXAMPLE ...]
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from scipy.stats import bootstrap

from autobatch.decide.grid import make_grid
from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Finding, Settings
from scripts.fastest import HOPELESS_RATIO, compare_with_fastest
from scripts.workbench import MEMORY_LIMITS, example_path, make_parser, print_table, report, search

_PLAN = TimingPlan(max_time_s=0.5, precision_fraction=0, num_warmup_steps=3)
_LONGEST_STEP_S = 5.0
_GOAL = 0.95
_MAX_ROUNDS_FACTOR = 4


def main() -> int:
    """Compare all and print."""
    parser = make_parser(__doc__, MEMORY_LIMITS)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.examples:
        rows.append((name, *measure(example_path(name), arguments.rounds)))
        report(*rows[-1])
    header = ("example", "chosen", "fastest", "chosen / fastest", "90 % interval", "verdict")
    print_table("throughput of the chosen size", header, rows)
    return 1 if any(row[-1] != "within 5 %" for row in rows) else 0


def measure(
    target: str, num_rounds: int, settings: Settings | None = None
) -> tuple[int, str, str, str, str]:
    """Chosen size, fastest sizes, and the ratio of their throughputs."""
    settings = settings or Settings()
    finding = search(target, settings)
    chosen = finding.batch_size
    with start(target, settings) as prober:
        rounds = [time_all(prober, finding)]
    sizes = list(rounds[0])
    while True:
        with start(target, settings) as prober:
            rounds.append({size: rate(prober, size) for size in sizes})
        medians = {s: statistics.median(each[s] for each in rounds) for s in sizes}
        least = HOPELESS_RATIO * max(medians.values())
        sizes = [s for s in sizes if s == chosen or medians[s] > least]
        if len(rounds) < num_rounds:
            continue
        fastest, ratios = compare_with_fastest(rounds, sizes, chosen)
        low, high = bootstrap(
            (ratios,),
            np.median,
            confidence_level=0.9,
            n_resamples=1000,
            method="percentile",
            random_state=0,
        ).confidence_interval
        if len(rounds) >= _MAX_ROUNDS_FACTOR * num_rounds or not low < _GOAL <= high:
            break
    names = " or ".join(map(str, sorted(set(fastest))))
    ratio = statistics.median(ratios)
    verdict = "within 5 %" if ratio >= _GOAL else "SLOWER"
    return chosen, names, f"{ratio:.3f}", f"{low:.3f} to {high:.3f}", verdict


@contextmanager
def start(target: str, settings: Settings) -> Iterator[TargetProber]:
    """A worker of its own, with the target loaded."""
    with TargetProber(target, settings) as prober:
        prober.load()
        yield prober


def time_all(prober: TargetProber, finding: Finding) -> dict[int, float]:
    """Samples per second of every size that is worth it, in one run each."""
    smallest = finding.trials[0].batch_size
    grid = make_grid(finding.settings, finding.workload.dataset_size, smallest)
    rates: dict[int, float] = {}
    for size in grid.sizes:
        trial = prober.measure(size, _PLAN)
        if trial.samples_per_s is None or trial.step_time_s is None:
            break
        rates[size] = trial.samples_per_s
        hopeless = [
            each < HOPELESS_RATIO * max(rates.values()) for each in list(rates.values())[-2:]
        ]
        is_slow = all(hopeless) or trial.step_time_s > _LONGEST_STEP_S
        if size > finding.batch_size and is_slow:
            break
    return rates


def rate(prober: TargetProber, batch_size: int) -> float:
    """Samples per second of one run of a size."""
    trial = prober.measure(batch_size, _PLAN)
    assert trial.samples_per_s is not None, trial
    return trial.samples_per_s


if __name__ == "__main__":
    sys.exit(main())

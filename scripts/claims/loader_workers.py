"""Are the chosen loader settings as fast as the best of all?

On ``examples/slow_loader.py`` at one batch size: the search of the loader's settings, then an
exhaustive sweep, every number of workers up to the usable cores with every prefetch factor, round
after round, so that a machine that slows down slows all alike. The throughput of the chosen
settings is compared with the best of the sweep, both as medians over the rounds. The best of nine
noisy medians is above its own truth, so the best is also taken from every other round, and compared
with the chosen settings in those between. Exit status 1 if that ratio is less than 0.95, if host
memory is over the budget, or if nothing was chosen.

    python -m scripts.claims.loader_workers [--rounds 8] [--batch-size 32]
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import replace

from autobatch.loading.choose import LoaderSearch
from autobatch.loading.job import LoaderJob
from autobatch.probe.client import TargetProber
from autobatch.records import LoaderSettings, LoaderTiming, Settings
from autobatch.units import format_bytes, format_rate
from scripts.workbench import example_path, make_parser, print_table, report

_LEAST_OF_BEST = 0.95
# Threads that spin while they wait would be what is timed on a busy machine.
_SETTINGS = Settings(variables={"OMP_WAIT_POLICY": "PASSIVE"})
_PREFETCH_FACTORS = (1, 2, 4, 8)


def main() -> int:
    """Choose, sweep, compare."""
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    if arguments.rounds < 2:
        parser.error(f"--rounds {arguments.rounds} leaves none to compare in: use 2 or more")
    size = arguments.batch_size
    with TargetProber(example_path("slow_loader"), _SETTINGS) as prober:
        loaded = prober.load()

        def time_one(way: LoaderSettings | None) -> LoaderTiming:
            timing = prober.run(LoaderJob(batch_size=size, settings=way))
            report(_name(timing.settings), format_rate(timing.samples_per_s or 0.0), timing.message)
            return timing

        num_cores = loaded.environment.num_cores
        num_samples = loaded.workload.dataset_size or 0
        choice = LoaderSearch(
            batch_size=size, time_one=time_one, num_cores=num_cores, num_batches=num_samples // size
        ).run()
        if choice.chosen is None:
            print(f"nothing chosen: {choice.reason}")
            return 1
        ways = [LoaderSettings(num_workers=0)] + [
            LoaderSettings(num_workers=number, prefetch_factor=factor)
            for number in range(1, num_cores + 1)
            for factor in _PREFETCH_FACTORS
        ]
        chosen = replace(choice.chosen, persistent_workers=False)  # told by arithmetic, not timed
        sweep: dict[LoaderSettings, list[LoaderTiming]] = {way: [] for way in (chosen, *ways)}
        for _ in range(arguments.rounds):
            for way, timings in sweep.items():
                timings.append(time_one(way))
    return judge(chosen, sweep, len(choice.timings), loaded.budget.budget_bytes)


def judge(
    chosen: LoaderSettings,
    sweep: dict[LoaderSettings, list[LoaderTiming]],
    num_timings: int,
    budget_bytes: int,
) -> int:
    """Print all, and compare the chosen settings with the best.

    Args:
        chosen: What the search has chosen.
        sweep: Timings of every way, the chosen one first.
        num_timings: Timings of the search.
        budget_bytes: Of host memory.

    Returns:
        The exit status.
    """
    rows = []
    medians = {}
    for way, timings in sweep.items():
        rates = [each.samples_per_s or 0.0 for each in timings]
        medians[way] = statistics.median(rates)
        peak_bytes = max(each.host_peak_bytes or 0 for each in timings)
        spread = f"{format_rate(min(rates))} to {format_rate(max(rates))}"
        name = f"{_name(way)}{' (chosen)' if way == chosen else ''}"
        rows.append((name, format_rate(medians[way]), spread, format_bytes(peak_bytes)))
    header = ("settings", "median", "spread", "host memory")
    print_table("training steps by loader settings", header, rows)
    ratio = compare_held_out(chosen, sweep)
    peak_bytes = max(each.host_peak_bytes or 0 for each in sweep[chosen])
    print(
        f"chosen: {_name(chosen)}, {ratio:.3f} of the best in the rounds that did not choose it, "
        f"{medians[chosen] / max(medians.values()):.3f} of the highest median; host memory "
        f"{format_bytes(peak_bytes)} of {format_bytes(budget_bytes)}; "
        f"{num_timings} timings in the search"
    )
    return 0 if ratio >= _LEAST_OF_BEST and peak_bytes <= budget_bytes else 1


def compare_held_out(
    chosen: LoaderSettings, sweep: dict[LoaderSettings, list[LoaderTiming]]
) -> float:
    """Compare with the best of one half of the rounds in the other half, both ways.

    Args:
        chosen: What the search has chosen.
        sweep: Timings of every way.

    Returns:
        Throughput of the chosen settings over that of the best, the geometric mean of both halves.
    """
    ratios = []
    for half in range(2):
        best = max(sweep, key=lambda way: _median(sweep[way][half::2]))
        ratios.append(_median(sweep[chosen][1 - half :: 2]) / _median(sweep[best][1 - half :: 2]))
    return statistics.geometric_mean(ratios)


def _median(timings: list[LoaderTiming]) -> float:
    return statistics.median(each.samples_per_s or 0.0 for each in timings)


def _name(way: LoaderSettings) -> str:
    return ", ".join(f"{name}={value}" for name, value in way.as_options().items() if value) or "0"


if __name__ == "__main__":
    sys.exit(main())

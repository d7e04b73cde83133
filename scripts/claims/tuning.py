"""Does `autobatch tune` find settings as fast as an exhaustive grid, in a fifth of its time?

For each workload: a tuning, then every combination of levers at every power of two that fits, each
run once. The levers are those that the tuning was offered, and every number of workers of a
`DataLoader` that its search of loader settings knows: a tuning may have ruled them out by measuring
that nothing waits for data, of which a grid knows nothing.
The fastest three of the grid then run in turn, each in a fresh process; that counts for the grid's
time, as the same counts for that of a tuning. The fastest of those runs in turn with the chosen
settings and the user's own: the best of several is above its own truth, so only its later rounds
count. Printed are the chosen throughput over the best of the grid, over the user's own settings,
and the time of the tuning over that of the grid. Combinations that are not exact count for the
grid's time, not for its best.

With `--keep N` every combination runs at the best size of the start and at four times that, and the
N fastest of them at every size; what the others took is scaled up to all sizes. Compiling is left
out of both without `--compile`, other precision without `--allow precision`; `--skip` leaves out
more. Exit status 1 if a ratio is below 0.95, a tuning took more than a fifth of its grid, or
image_cnn or slow_loader gained less than 1.5.

    python -m scripts.claims.tuning [--keep 8] [--rounds 3] [--compile] [image_cnn deep_gpt ...]
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic as now

from autobatch.errors import AutobatchError
from autobatch.loading.choose import list_numbers
from autobatch.probe.protocol import Purpose
from autobatch.records import Settings
from autobatch.records.loading import LoaderSettings
from autobatch.reporting.activity import PlainActivity
from autobatch.tuning.asked import LEVER_NAMES, PRECISION, TuneSettings
from autobatch.tuning.levers import loader_options, loader_value, touches_step
from autobatch.tuning.measure import Measurer
from autobatch.tuning.probers import TargetOpener
from autobatch.tuning.records import AttemptOutcome, Changes, Tuning
from autobatch.tuning.report.wording import describe_changes
from autobatch.tuning.session import tune
from autobatch.units import format_bytes, format_seconds, parse_bytes
from scripts.workbench import example_path, make_parser, print_table, report

_LEAST_OF_BEST, _MOST_OF_TIME, _LEAST_GAIN = 0.95, 0.2, 1.5
_MUST_GAIN = ("image_cnn", "slow_loader")
_NUM_FINALISTS = 3
# Sizes that are slower than the best of their settings by this are past the knee.
_PAST_FRACTION = 0.3
_DEEP_GPT = """
import sys
sys.path.insert(0, {folder!r})
import char_gpt
from char_gpt import *
char_gpt.NUM_LAYERS = 12
model = char_gpt.CharGPT()
"""
_HAVE_LOADERS = ("slow_loader", "sequence_lstm")
_LIMITS = {"image_cnn": None, "deep_gpt": "700MiB", "slow_loader": None, "sequence_lstm": None}


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    changes: Changes
    batch_size: int
    samples_per_s: float


class Bench:
    """Tunes one workload and runs its grid."""

    def __init__(
        self,
        target: str,
        limit: str | None,
        *,
        has_loader: bool,
        compiles: bool,
        allowed: Sequence[str] = (),
        skipped: Sequence[str] = (),
    ) -> None:
        self.has_loader = has_loader
        limit_bytes = None if limit is None else parse_bytes(limit)
        self.settings = Settings(memory_limit_bytes=limit_bytes, device="cpu")
        self.asked = TuneSettings(
            skipped=(*skipped, *(() if compiles else ("compile",))),
            allowed=tuple(allowed),
            time_limit_s=None,
        )
        self.activity = PlainActivity(sys.stderr)
        self.opener = TargetOpener(target, self.settings)
        self.measurer = Measurer(self.opener, self.settings, self.asked, self.activity)

    def tune(self) -> Tuning:
        """Tune it."""
        return tune(self.opener, self.settings, self.asked, self.activity)

    def list_levers(self, tuning: Tuning) -> dict[str, tuple[str, ...]]:
        """Values of each lever of the grid."""
        offers = tuning.start.offers
        if not self.has_loader or "loader" in self.asked.skipped:
            return offers
        ways = {
            number: LoaderSettings(num_workers=number, prefetch_factor=2, persistent_workers=True)
            for number in list_numbers(tuning.start.environment.num_cores)
            if number != tuning.start.workload.num_loader_workers
        }
        values = {number: loader_value(way) for number, way in ways.items()}
        for found in offers.get("loader", ()):
            values[loader_options(found)["num_workers"]] = found
        return {**offers, "loader": tuple(values.values())}

    def run_grid(
        self, tuning: Tuning, combinations: list[Changes], sizes: list[int]
    ) -> tuple[list[Cell], dict[str, float]]:
        """Run combinations at sizes, up to the first that does not fit or is past the knee.

        Args:
            tuning: Says what every run needs.
            combinations: Levers to put on.
            sizes: In ascending order.

        Returns:
            What ran, and the seconds that each combination took, by its name.
        """
        cells, times_s = list[Cell](), dict[str, float]()
        for changes in combinations:
            best, begin = 0.0, now()
            try:
                with self.opener.open(changes, tuning.start.remedy) as trainer:
                    trainer.load()
                    for size in sizes:
                        _, rate = self.measurer.time_round(
                            trainer, tuning.start, changes, size, Purpose.SEARCH
                        )
                        if not rate:
                            break
                        cells.append(Cell(changes, size, rate))
                        best = max(best, rate)
                        if rate < (1 - _PAST_FRACTION) * best:
                            break
            except AutobatchError as error:
                report("grid", describe_changes(changes), str(error).partition("\n")[0])
            times_s[describe_changes(changes)] = now() - begin
        return cells, times_s

    def hold(self, tuning: Tuning, sides: list[tuple[Changes, int]], rounds: int) -> list[float]:
        """Median throughput of each side, run in turn in fresh processes."""
        rates: list[list[float]] = [[] for _ in sides]
        for number in range(rounds):
            for index in list(range(len(sides)))[:: -1 if number % 2 else 1]:
                changes, size = sides[index]
                with self.opener.open(changes, tuning.start.remedy) as trainer:
                    trainer.load()
                    rates[index].append(
                        self.measurer.time_round(trainer, tuning.start, changes, size)[1]
                    )
        return [statistics.median(each) for each in rates]


def main() -> int:
    """Tune, run the grids, compare."""
    parser = make_parser(__doc__, _LIMITS)
    parser.add_argument("--keep", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--allow", choices=[PRECISION], action="append", default=[])
    parser.add_argument("--skip", choices=LEVER_NAMES, action="append", default=[])
    arguments = parser.parse_args()
    rows, is_met = [], True
    with tempfile.TemporaryDirectory() as folder:
        deep = Path(folder) / "deep_gpt.py"
        deep.write_text(_DEEP_GPT.format(folder=str(Path(example_path("char_gpt")).parent)))
        for name in arguments.examples:
            target = str(deep) if name == "deep_gpt" else example_path(name)
            bench = Bench(
                target,
                _LIMITS[name],
                has_loader=name in _HAVE_LOADERS,
                compiles=arguments.compile,
                allowed=arguments.allow,
                skipped=arguments.skip,
            )
            row, is_good = compare(name, bench, arguments.keep, arguments.rounds)
            rows.append(row)
            is_met &= is_good
    print_table(
        "Chosen settings beside an exhaustive grid",
        ("workload", "chosen", "of the best", "of your own", "tuning", "grid", "of the time"),
        rows,
    )
    return 0 if is_met else 1


def compare(name: str, bench: Bench, keep: int | None, rounds: int) -> tuple[tuple[str, ...], bool]:
    """The row of one workload, and whether it meets the claim."""
    tuning = bench.tune()
    report(name, describe_changes(tuning.changes), tuning.batch_size)
    combinations, cells, grid_time_s = run_all(bench, tuning, keep)
    for cell in cells[:_NUM_FINALISTS]:
        report("grid", describe_changes(cell.changes), cell.batch_size, cell.samples_per_s)
    finalists, begin = [(each.changes, each.batch_size) for each in cells[:_NUM_FINALISTS]], now()
    held = bench.hold(tuning, finalists, rounds)
    grid_time_s += now() - begin
    fastest = finalists[held.index(max(held))]
    report("grid", describe_changes(fastest[0]), fastest[1], max(held))
    sides = [({}, tuning.start.own_batch_size), (tuning.changes, tuning.batch_size), fastest]
    own, chosen, best = bench.hold(tuning, sides, rounds)
    of_best, of_own = chosen / best, chosen / own
    of_time = tuning.tuning_time_s / grid_time_s
    is_good = of_best >= _LEAST_OF_BEST and of_time <= _MOST_OF_TIME
    is_good &= name not in _MUST_GAIN or of_own >= _LEAST_GAIN
    limit = bench.settings.memory_limit_bytes
    row = (
        f"{name} in {format_bytes(limit)}" if limit else name,
        f"{describe_changes(tuning.changes)}, {tuning.batch_size}",
        f"{of_best:.2f}",
        f"{of_own:.2f}",
        format_seconds(tuning.tuning_time_s),
        f"{combinations}, {format_seconds(grid_time_s)}",
        f"{of_time:.2f}",
    )
    return row, is_good


def run_all(bench: Bench, tuning: Tuning, keep: int | None) -> tuple[str, list[Cell], float]:
    """The grid: what ran of it, its exact cells, fastest first, and the time of all of it.

    Of each combination only the fastest size is a cell.
    """
    combinations, limits = [*list_combinations(bench.list_levers(tuning))], tuning.start.limits
    wrong = [each.changes for each in tuning.attempts if each.outcome is AttemptOutcome.NOT_EXACT]
    sizes = [*itertools.takewhile(lambda size: size <= limits.largest, map(_power, range(27)))]
    exact = [each for each in combinations if not any(is_part(part, each) for part in wrong)]
    chosen, cells, at_two_s = combinations, list[Cell](), dict[str, float]()
    ran = f"all of {len(combinations)} combinations"
    if keep is not None and keep < len(exact):
        two = [size for size in (limits.first, 4 * limits.first) if size <= limits.largest]
        cells, at_two_s = bench.run_grid(tuning, exact, two)
        cells = find_fastest(cells)
        chosen = [cell.changes for cell in cells[:keep]]
        ran = f"{len(exact)} of {len(combinations)} combinations, {keep} at all sizes"
    more, whole_s = bench.run_grid(tuning, chosen, sizes)
    cells += more
    grid_time_s = sum(whole_s.values())
    others_s = sum(each for name, each in at_two_s.items() if name not in whole_s)
    if others_s:
        grid_time_s *= 1 + others_s / sum(at_two_s[name] for name in whole_s)
    # Those that are not exact were not run, and would take as long as the others.
    grid_time_s *= len(combinations) / max(len(whole_s), len(at_two_s))
    return ran, find_fastest(cell for cell in cells if cell.changes in exact), grid_time_s


def find_fastest(cells: Iterable[Cell]) -> list[Cell]:
    """The fastest cell of each combination, fastest first."""
    ordered = sorted(cells, key=lambda cell: -cell.samples_per_s)
    changes = [cell.changes for cell in ordered]
    return [cell for number, cell in enumerate(ordered) if cell.changes not in changes[:number]]


def list_combinations(offers: dict[str, tuple[str, ...]]) -> Iterator[Changes]:
    """Every combination of values, none of a lever included."""
    for values in itertools.product(*(("", *each) for each in offers.values())):
        yield {name: value for name, value in zip(offers, values, strict=True) if value}


def is_part(wrong: Changes, changes: Changes) -> bool:
    """Whether settings have all of the levers that were found not to be exact."""
    return touches_step(wrong) and wrong.items() <= changes.items()


def _power(exponent: int) -> int:
    return 2**exponent


if __name__ == "__main__":
    sys.exit(main())

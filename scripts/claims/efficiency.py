"""Does the size from ``--goal efficiency`` reach a loss as soon as the best of all sizes?

For each example and seed the search runs with ``--goal efficiency``; then the example is trained
for real at the size chosen and at others, from the same weights, with the learning rate by the
usual rule, until the held-out loss first falls to the target (between two epochs by interpolation)
or the epochs are used up. What a seed decides are the optimizer steps that this takes. Their time
is the median over all epochs of all seeds: the sizes are trained one after the other, and a
machine that is slower for a minute would else pass for a size that is.

The time at the chosen size is divided by that at the best size (the one with the lowest geometric
mean over the seeds, which is what an exhaustive comparison finds), at the luckiest of this seed
(which nobody can know before), at 32, and at the largest. Printed are the median over the seeds
and the lowest and highest. A size that has not reached the target counts with the time that it
trained, a lower bound of its time: ratios to it are marked with ``<``.

    python -m scripts.claims.efficiency [--seeds 5] [--sizes 8,16,full] [digits_cnn] [char_gpt]

Five seeds of both examples take some 25 minutes on two cores, ``--seeds 1 digits_cnn`` two.
Exit status 1 if an example's median ratio to the best size is above 1.1, or no example is quicker
at the chosen size than at 32 and at the largest.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from autobatch.compare.records import CompareSettings, RunOutcome, TrainingRun
from autobatch.compare.session import compare
from autobatch.probe.client import TargetProber
from autobatch.records import Finding, Goal, Settings
from autobatch.records.kinds import BATCH_SIZES
from scripts.workbench import example_path, make_parser, print_table, report, search

_FIXED = 32
_GOAL_RATIO = 1.1


@dataclass(frozen=True)
class Task:
    """What is trained until when.

    Attributes:
        target_loss: Held-out loss to reach.
        num_epochs: Epochs at most.
        sizes: Batch sizes of the exhaustive comparison, ``None`` for the whole training set.
    """

    target_loss: float
    num_epochs: int
    sizes: tuple[int | None, ...]


TASKS = {
    "digits_cnn": Task(0.15, 10, (4, 8, 16, 32, 64, 128, 256, None)),
    "char_gpt": Task(2.2, 4, (4, 8, 16, 32, 64, 128, None)),
}


@dataclass(frozen=True)
class Seed:
    """What one seed brought.

    Attributes:
        chosen: The size from the search.
        runs: Training runs by batch size.
    """

    chosen: int
    runs: dict[int, TrainingRun]


class Time(NamedTuple):
    """Training time until the target, or how long it was trained in vain."""

    time_s: float
    is_reached: bool


def main() -> int:
    """Train all and print."""
    parser = make_parser(__doc__, TASKS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sizes", help="sizes to compare, in the place of the usual ones")
    arguments = parser.parse_args()
    sizes = BATCH_SIZES.parse(arguments.sizes) if arguments.sizes else None
    rows, is_good, beats_fixed = [], True, False
    for name in arguments.examples:
        task = TASKS[name]
        if sizes:
            task = Task(task.target_loss, task.num_epochs, sizes)
        seeds = [train(name, task, seed) for seed in range(arguments.seeds)]
        row, medians = judge(task, seeds)
        rows.append((name, *row))
        is_good = is_good and medians[0] <= _GOAL_RATIO
        beats_fixed = beats_fixed or max(medians[2:]) < 1
    against = ("/ best size", "/ luckiest", f"/ {_FIXED}", "/ largest")
    header = ("example", "chosen", "best size", *against)
    print_table(f"time to a loss, {arguments.seeds} seeds: median (range)", header, rows)
    return 0 if is_good and beats_fixed else 1


def train(name: str, task: Task, seed: int) -> Seed:
    """Search, then train at all sizes, with one seed."""
    target, settings = example_path(name), Settings(seed=seed)
    finding = search(target, replace(settings, goal=Goal.EFFICIENCY))
    chosen = finding.batch_size
    asked = CompareSettings(
        batch_sizes=tuple(dict.fromkeys((*task.sizes, _FIXED, chosen))),
        num_epochs=task.num_epochs,
        target_loss=task.target_loss,
        stop_at_target=True,
    )
    with TargetProber(target, settings) as prober:
        comparison = compare(prober, settings, asked, target=target)
    found = Seed(chosen, {run.batch_size: run for run in comparison.runs})
    tell(f"{name} seed {seed}", finding, task, found)
    return found


def tell(title: str, finding: Finding, task: Task, found: Seed) -> None:
    """Write what a seed brought, on standard error."""
    noise = finding.gradient_noise
    scale = f"noise scale {noise.at_least if noise else 0:.0f}"
    report(f"{title}: {scale}, chosen {found.chosen}")
    for size, run in sorted(found.runs.items()):
        epochs, is_reached = epochs_until(run, task.target_loss)
        shown = f"{epochs:.2f} epochs" if is_reached else f"not in {epochs:.0f} epochs"
        report(f"  {size}: {shown}, {run.epoch_time_s or 0:.2f} s each")


def judge(task: Task, seeds: Sequence[Seed]) -> tuple[list[str], list[float]]:
    """A row of the table, and the medians of its ratios."""
    times = [times_of(task, seed, seeds) for seed in seeds]
    common = set.intersection(*(set(each) for each in times))
    best = min(common, key=lambda size: rank([each[size] for each in times]))
    against = (
        [each[best] for each in times],
        [min(each.values(), key=lambda time: rank([time])) for each in times],
        [each[_FIXED] for each in times],
        [each[max(each)] for each in times],
    )
    own = [each[seed.chosen] for each, seed in zip(times, seeds, strict=True)]
    chosen = ", ".join(str(seed.chosen) for seed in seeds)
    ratios = [[ratio(a, b) for a, b in zip(own, others, strict=True)] for others in against]
    shown = [
        spread(values, all(time.is_reached for time in others))
        for values, others in zip(ratios, against, strict=True)
    ]
    return [chosen, str(best), *shown], [statistics.median(values) for values in ratios]


def rank(times: Sequence[Time]) -> tuple[bool, float]:
    """What sorts sizes by their times over the seeds, those last that miss the target."""
    missed = not all(time.is_reached for time in times)
    return missed, sum(math.log(time.time_s) for time in times)


def ratio(own: Time, other: Time) -> float:
    """Own time over another; infinite if it never came there."""
    return own.time_s / other.time_s if own.is_reached else math.inf


def times_of(task: Task, seed: Seed, seeds: Sequence[Seed]) -> dict[int, Time]:
    """Time until the target at each size of a seed, in epochs of the median length."""
    times = {}
    for size, run in seed.runs.items():
        epochs, is_reached = epochs_until(run, task.target_loss)
        lengths = [
            epoch.time_s for each in seeds if size in each.runs for epoch in each.runs[size].epochs
        ]
        # A run that diverged would not have come there however long it was trained.
        is_known = bool(lengths) and (is_reached or run.outcome is RunOutcome.FINISHED)
        time_s = epochs * statistics.median(lengths) if is_known else math.inf
        times[size] = Time(time_s, is_reached)
    return times


def epochs_until(run: TrainingRun, target_loss: float) -> tuple[float, bool]:
    """Epochs until the held-out loss falls to the target, or all of them, and which it is."""
    before = run.losses[0] if run.losses else math.inf
    for count, epoch in enumerate(run.epochs):
        if epoch.loss <= target_loss:
            is_finite = math.isfinite(before) and before > epoch.loss
            share = (before - target_loss) / (before - epoch.loss) if is_finite else 1.0
            return count + max(0.0, share), True
        before = epoch.loss
    return float(len(run.epochs)), False


def spread(values: Sequence[float], is_exact: bool) -> str:
    """Median and range."""
    sign = "" if is_exact else "< "
    return f"{sign}{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())

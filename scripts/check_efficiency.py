"""Does the size from ``--goal efficiency`` reach a loss as soon as the best of all sizes?

For each example and seed the search runs with ``--goal efficiency``; then the example is trained
for real at every power of two from 8 up and at the size chosen, from the same weights and with
the learning rate by the usual rule, and the training time until the held-out loss first falls to
the target is taken, between two epochs by interpolation. The time at the chosen size is divided
by that at the best size of all, at 32 and at the largest trained; printed are the median over the
seeds and the lowest and highest. A size that never reaches the target counts as infinite.

    python scripts/check_efficiency.py [--seeds 5] [--sizes 8,16,32] [digits_cnn] [char_gpt]

Five seeds of both examples take some hours on two cores; ``--seeds 1 digits_cnn`` some minutes.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from dataclasses import dataclass

from workbench import example_path, print_table

from autobatch.compare import compare
from autobatch.finder import find
from autobatch.probe.client import TargetProber
from autobatch.probe.trainer import TargetTrainer
from autobatch.records import CompareSettings, Goal, Settings, TrainingRun

_FIXED = 32
_GOAL_RATIO = 1.1


@dataclass(frozen=True)
class Task:
    """What is trained until when.

    Attributes:
        target_loss: Held-out loss to reach.
        num_epochs: Epochs at most.
        sizes: Batch sizes of the exhaustive comparison.
    """

    target_loss: float
    num_epochs: int
    sizes: tuple[int, ...]


TASKS = {
    "digits_cnn": Task(0.15, 16, (8, 16, 32, 64, 128, 256, 512, 1024)),
    "char_gpt": Task(2.3, 6, (8, 16, 32, 64, 128, 256, 512)),
}


def main() -> int:
    """Train all and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sizes", help="sizes to compare, in the place of all powers of two")
    parser.add_argument("examples", nargs="*", default=list(TASKS))
    arguments = parser.parse_args()
    sizes = tuple(map(int, arguments.sizes.split(","))) if arguments.sizes else None
    rows, is_good = [], True
    for name in arguments.examples:
        task = TASKS[name]
        results = [
            measure(name, task, sizes or task.sizes, seed) for seed in range(arguments.seeds)
        ]
        columns = [[each[key] for each in results] for key in ("best", "fixed", "largest")]
        is_good = is_good and statistics.median(columns[0]) <= _GOAL_RATIO
        rows.append((name, *(spread(column) for column in columns)))
    header = ("example", "chosen / best", f"chosen / {_FIXED}", "chosen / largest")
    print_table(f"time to a loss, {arguments.seeds} seeds: median (range)", header, rows)
    return 0 if is_good else 1


def measure(name: str, task: Task, sizes: tuple[int, ...], seed: int) -> dict[str, float]:
    """Ratios of times to the target, at one seed."""
    target, settings = example_path(name), Settings(seed=seed)
    searched = Settings(seed=seed, goal=Goal.EFFICIENCY)
    with TargetProber(target, searched) as prober:
        finding = find(prober, searched, target=target)
    chosen = finding.batch_size
    asked = CompareSettings(
        batch_sizes=tuple(sorted({*sizes, _FIXED, chosen})),
        num_epochs=task.num_epochs,
        target_loss=task.target_loss,
    )
    with TargetTrainer(target, settings) as trainer:
        comparison = compare(trainer, settings, asked, target=target)
    times = {run.batch_size: time_to(run, task.target_loss) for run in comparison.runs}
    noise = finding.gradient_noise
    shown = ", ".join(f"{size}: {time_s:.1f} s" for size, time_s in times.items())
    print(
        f"{name} seed {seed}: noise scale {noise.at_least if noise else 0:.0f}, chosen {chosen}; "
        f"{shown}",
        file=sys.stderr,
        flush=True,
    )
    own = times[chosen]
    return {
        "best": ratio(own, min(times.values())),
        "fixed": ratio(own, times[_FIXED]),
        "largest": ratio(own, times[max(times)]),
    }


def time_to(run: TrainingRun, target_loss: float) -> float:
    """Training time until the held-out loss falls to the target, ``inf`` if it never does."""
    before_s, before = 0.0, run.losses[0] if run.losses else math.inf
    for epoch in run.epochs:
        if epoch.loss <= target_loss:
            share = 1.0
            if math.isfinite(before) and before > epoch.loss:
                share = (before - target_loss) / (before - epoch.loss)
            return before_s + max(0.0, share) * epoch.time_s
        before_s, before = before_s + epoch.time_s, epoch.loss
    return math.inf


def ratio(own: float, other: float) -> float:
    """``own / other``; 1 where both are infinite."""
    return 1.0 if own == other else own / other


def spread(values: list[float]) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    sys.exit(main())

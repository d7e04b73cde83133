"""What each tuned number of the decision is worth: halved and doubled, on replayed searches.

    python -m scripts.replay.sensitivity [--searches 6] [--only NAME ...] [FOLDER]

Each variant runs in a process of its own, with the number replaced before anything reads it. A
number whose row does not move can go.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

# Nothing else that reads the numbers: a variant replaces them first.
from autobatch.decide import numbers

ROOT = Path(__file__).resolve().parents[2]
_NUM_QUIET_SEEDS = 3
_HEADER = ("number", "value", "rate / best", "about commonest", "search, s", "quiet: overhead",
           "quiet: lowest rate")  # fmt: skip


def main() -> int:
    """Print a row for each variant; with ``--variant``, be one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--searches", type=int, default=6, help="of each recording")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--variant", help=argparse.SUPPRESS)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(__file__).parent / "recordings"
    )
    arguments = parser.parse_args()
    if arguments.variant is not None:
        changes = json.loads(arguments.variant)
        numbers.NUMBERS = replace(numbers.NUMBERS, **changes)
        print(json.dumps(measure(arguments.folder, arguments.searches)))
        return 0
    variants = [("as they are", "", {}), *list_variants(arguments.only)]
    with ThreadPoolExecutor() as pool:
        figures = list(pool.map(lambda each: run_variant(each[2], arguments), variants))
    rows = [
        (name, value, *map("{:.3f}".format, figure))
        for (name, value, _), figure in zip(variants, figures, strict=True)
    ]
    from scripts.workbench import print_table

    print_table("each number halved and doubled", _HEADER, rows)
    return 0


def list_variants(only: list[str]) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, value and change of every variant."""
    variants = []
    for field in fields(numbers.Numbers):
        value = getattr(numbers.NUMBERS, field.name)
        if only and field.name not in only:
            continue
        for changed in dict.fromkeys(halved_and_doubled(value)):
            variants.append((field.name, f"{changed:g}", {field.name: changed}))
    return variants


def halved_and_doubled(value: float) -> tuple[float, float]:
    """Half and twice a number; of a probability, twice and half the chance of the opposite."""
    if isinstance(value, int):
        return max(1, value // 2), 2 * value
    if 0.5 < value < 1:
        return 1 - 2 * (1 - value), 1 - (1 - value) / 2
    return value / 2, 2 * value


def run_variant(change: dict[str, Any], arguments: argparse.Namespace) -> list[float]:
    """The figures of a variant."""
    done = subprocess.run(
        [sys.executable, "-m", "scripts.replay.sensitivity", "--variant", json.dumps(change),
         "--searches", str(arguments.searches), str(arguments.folder)],
        capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    print(change, done.stdout.strip(), file=sys.stderr, flush=True)
    figures: list[float] = json.loads(done.stdout)
    return figures


def measure(folder: Path, num_searches: int) -> list[float]:
    """Replay searches with the numbers as they are now."""
    from scripts.replay import quiet
    from scripts.replay.record import load
    from scripts.replay.replay import replay_in_turn

    scores = [replay_in_turn(load(path), num_searches) for path in sorted(folder.glob("*.json.xz"))]
    results = [
        quiet.search(curve, seed)
        for curve in quiet.CURVES.values()
        for seed in range(_NUM_QUIET_SEEDS)
    ]
    return [
        statistics.mean(score.rate for score in scores),
        statistics.mean(score.about_commonest for score in scores),
        statistics.mean(score.seconds for score in scores),
        statistics.mean(result.overhead for result in results),
        min(result.rate for result in results),
    ]


if __name__ == "__main__":
    sys.exit(main())

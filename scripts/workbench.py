"""What the scripts share: the examples, a search, the command line, and tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from autobatch.finder import find
from autobatch.noise.worth import worth_of
from autobatch.probe.client import TargetProber
from autobatch.records import Finding, Settings

ROOT = Path(__file__).resolve().parents[1]
WIDE_TARGET = str(Path(__file__).with_name("wide_target.py"))
# Three limits for each: near its fixed cost, in the middle, and roomy.
MEMORY_LIMITS = {
    "digits_cnn": ("450MiB", "600MiB", "1GiB"),
    "char_gpt": ("500MiB", "1GiB", "3GiB"),
    "regression_mlp": ("420MiB", "500MiB", "1GiB"),
    "sequence_lstm": ("480MiB", "600MiB", "1GiB"),
    "image_cnn": ("480MiB", "1GiB", "2GiB"),
    "slow_loader": ("420MiB", "500MiB", "1GiB"),
}


def make_parser(
    description: str | None, examples: Iterable[str] | None = None
) -> argparse.ArgumentParser:
    """A command line that shows a script's docstring, and takes names of examples if any are given.

    Args:
        description: The docstring.
        examples: Those that are run if none is named.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if examples is not None:
        parser.add_argument("examples", nargs="*", default=list(examples), metavar="EXAMPLE")
    return parser


def example_path(name: str) -> str:
    """Path of an example by its name."""
    return str(ROOT / "examples" / f"{name}.py")


def search(target: str, settings: Settings) -> Finding:
    """One whole search, in a worker of its own."""
    with TargetProber(target, settings) as prober:
        return find(prober, settings, target=target, worth=worth_of(settings))


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median and upper quartile."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return low, middle, high


def report(*row: object) -> None:
    """Tell on standard error how far a script has come."""
    print(*row, sep="\t", file=sys.stderr, flush=True)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a header."""
    table = Table(*header, title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=110).print(table)

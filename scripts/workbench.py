"""What the scripts share: the examples, and a table on standard output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
# Three limits for each: near its fixed cost, in the middle, and roomy.
MEMORY_LIMITS = {
    "digits_cnn": ("450MiB", "600MiB", "1GiB"),
    "char_gpt": ("500MiB", "1GiB", "3GiB"),
    "regression_mlp": ("420MiB", "500MiB", "1GiB"),
    "sequence_lstm": ("480MiB", "600MiB", "1GiB"),
    "image_cnn": ("480MiB", "1GiB", "2GiB"),
    "slow_loader": ("420MiB", "500MiB", "1GiB"),
}


def example_path(name: str) -> str:
    """Path of an example by its name."""
    return str(EXAMPLES / f"{name}.py")


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a header."""
    table = Table(*header, title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(str, row))
    Console(width=110).print(table)

"""How does the cost of a search grow with the model, and with how far the limit is from 1?

Two series, each search in a process of its own under an enforced limit (RLIMIT_DATA):

- models of growing size, ``--goal throughput``, with a limit far away;
- ``--goal memory`` under one limit, with samples that shrink from 256 MiB to 64 KiB, so that the
  largest size is farther and farther from 1 while a step at the limit does much the same work.
  Beside it Lightning's ``power``, which doubles from 2, and ends at 8,192.

A search should cost a number of steps at its answer that does not grow with either: the last
column. Step times are the search's own. Linux only.

    python -m scripts.peers.scaling [--parameters 1e6,4e6,16e6,64e6,256e6,500e6] [--plot FILE.svg]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import psutil

from autobatch.units import format_bytes, parse_bytes
from scripts.peers.plot import plot_scaling
from scripts.peers.processes import run_finder
from scripts.workbench import make_parser, print_table

_PARAMETERS = "1e6,4e6,16e6,64e6,256e6,500e6"
# Bytes of a sample of ``rows``: four rows of floats.
_BYTES_PER_WIDTH = 16
_WIDTHS = (2**24, 2**20, 2**16, 2**12)
_FAR_FRACTION = 0.75


def main() -> int:
    """Run both series and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--parameters", default=_PARAMETERS, metavar="N,...", help="model sizes")
    parser.add_argument("--limit", type=parse_bytes, default="2GiB", help="of the second series")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for a search")
    parser.add_argument("-o", "--output", type=Path, default=Path("scaling.json"))
    parser.add_argument("--plot", type=Path, metavar="FILE.svg")
    arguments = parser.parse_args()
    far_bytes = round(_FAR_FRACTION * psutil.virtual_memory().available)
    jobs = [
        ("autobatch", f"dense:{round(float(text))}", far_bytes)
        for text in arguments.parameters.split(",")
    ]
    for width in _WIDTHS:
        for finder in ("autobatch-memory", "lightning-power"):
            jobs.append((finder, f"rows:{width}", arguments.limit))
    runs = run_jobs(jobs, arguments)
    models = tabulate([run for run in runs if run["workload"].startswith("dense")])
    limits = tabulate([run for run in runs if run["workload"].startswith("rows")])
    header = ("finder", "answer", "trials", "OOM events", "search, s", "search / step")
    print_table("growing models", ("parameters", *header), [show_row(row) for row in models])
    title = f"samples that shrink, within {format_bytes(arguments.limit)}"
    print_table(title, ("bytes of a sample", *header), [show_row(row) for row in limits])
    if arguments.plot:
        panels = [("parameters", group(models, "size")), ("answer", group(limits, "answer"))]
        plot_scaling(panels, arguments.plot)
    return 0 if all(run["outcome"] == "answered" for run in runs) else 1


def run_jobs(
    jobs: list[tuple[str, str, int]], arguments: argparse.Namespace
) -> list[dict[str, Any]]:
    """Raw rows of all searches, in turn and again; written to the output after each."""
    runs = []
    for repeat in range(arguments.repeats):
        for finder, workload, limit_bytes in jobs:
            limits = {"limit_bytes": limit_bytes, "timeout_s": arguments.timeout}
            runs.append(run_finder(finder, workload, repeat=repeat, **limits))
            arguments.output.write_text(json.dumps(runs, indent=1))
    return runs


def tabulate(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Medians over the repeats, a row for each finder and workload."""
    rows = []
    for finder, workload in dict.fromkeys((run["finder"], run["workload"]) for run in runs):
        mine = [run for run in runs if (run["finder"], run["workload"]) == (finder, workload)]
        kind, _, size = workload.partition(":")
        answered = [run for run in mine if run["outcome"] == "answered"]
        row: dict[str, Any] = {
            "size": int(size) * (_BYTES_PER_WIDTH if kind == "rows" else 1),
            "finder": finder,
            "outcome": mine[-1]["outcome"],
            "trials": statistics.median(len(run["steps"]["trials"]) for run in mine),
            "failed": statistics.median(len(run["steps"]["failed"]) for run in mine),
        }
        if answered:
            row["answer"] = statistics.median_low(run["batch_size"] for run in answered)
            row["search_s"] = statistics.median(run["search_s"] for run in answered)
        steps = [ratio for run in answered if (ratio := count_steps(run)) is not None]
        rows.append({**row, "num_steps": statistics.median(steps) if steps else None})
    return rows


def count_steps(run: dict[str, Any]) -> float | None:
    """Search time over the time of a step at the answer, where the finder tells its throughput."""
    samples_per_s = run["details"].get("samples_per_s")
    if not samples_per_s:
        return None
    return float(run["search_s"] * samples_per_s / run["batch_size"])


def show_row(row: dict[str, Any]) -> list[str]:
    """A row as text."""
    num_steps = row["num_steps"]
    return [
        f"{row['size']:,}",
        row["finder"],
        str(row.get("answer", row["outcome"])),
        f"{row['trials']:g}",
        f"{row['failed']:g}",
        f"{row['search_s']:.1f}" if "search_s" in row else "-",
        "-" if num_steps is None else f"{num_steps:.0f}",
    ]


def group(rows: list[dict[str, Any]], key: str) -> dict[str, list[tuple[float, float]]]:
    """Points of a plot by finder."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if "search_s" in row:
            lines.setdefault(row["finder"], []).append((row[key], row["search_s"]))
    return lines


if __name__ == "__main__":
    sys.exit(main())

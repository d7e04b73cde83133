"""autobatch beside the finders that people use now, and beside an exhaustive oracle.

Every finder runs in a process of its own on the same workloads, under the same enforced memory
limit (RLIMIT_DATA, as ``ulimit -d`` sets it), in turn, again and again. Then every power of two
and every size that was answered with is timed in turn by the same code. docs/benchmark.md says how
it is measured and what is unfair in it. Linux only; a finder that is not installed is a row that
says so.

    pip install -c constraints.txt -e '.[plot,transformers,lightning,accelerate]'
    pip install -c constraints.txt -r scripts/peers/requirements.txt
    python -m scripts.peers.run [--quick] [--repeats 10] [--write-readme]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

from autobatch.devices.cpu import CpuDevice, count_usable_cores
from autobatch.units import format_bytes, parse_bytes
from scripts.memory_group import make_memory_group
from scripts.peers.plot import plot_finders
from scripts.peers.processes import run_finder, run_timing
from scripts.peers.table import (
    Table,
    render_markdown,
    replace_between_markers,
    tabulate_answers,
    tabulate_conduct,
    tabulate_quality,
    tabulate_times,
)
from scripts.peers.targets import check_targets
from scripts.workbench import ROOT, make_parser, print_table, report

FINDERS = (
    "autobatch", "autobatch-memory", "lightning-power", "lightning-binsearch", "accelerate",
    "accelerate-top", "transformers", "torch-max-mem", "toma", "ludwig",
)  # fmt: skip
WORKLOADS = ("mlp", "cnn", "resnet", "gpt", "lstm", "bert")
_QUICK_WORKLOADS = ("cnn", "lstm")
_QUICK_FINDERS = ("autobatch", "autobatch-memory", "lightning-power", "accelerate")
_LIMIT, _QUICK_LIMIT = "2GiB", "768MiB"
_GROUP_LIMIT_BYTES = 1536 * 2**20
_PAGE = ROOT / "docs" / "benchmark.md"
# The workload that wants 20 GiB.
_SURVIVAL_WORKLOAD = "rows"
_LIBRARIES = (
    "torch", "numpy", "lightning", "accelerate", "transformers", "torch-max-mem", "toma", "ludwig",
)  # fmt: skip


def main() -> int:
    """Run all and print."""
    arguments = parse_arguments()
    if arguments.write_docs:  # said before an hour has passed
        replace_between_markers(_PAGE.read_text(), "")
    begin = time.monotonic()
    document = load_document(arguments)
    if not arguments.from_file:
        measure_finders(document, arguments)
        measure_throughput(document, arguments)
        if arguments.survival:
            measure_survival(document, arguments)
        document["machine"]["seconds"] = time.monotonic() - begin
        save(document, arguments.output)
    print_report(document)
    if arguments.write_docs:
        write_docs(document)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Options of the command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="two workloads, four finders, once")
    parser.add_argument("--repeats", type=int, help="searches of each (default: 3; quick: 1)")
    parser.add_argument(
        "--more", type=_parse_more, metavar="FINDER=N,...", default={},
        help="searches of single finders, such as autobatch=10, where they are to be more",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, help="rounds of timing (default: 6; quick: 2)")
    parser.add_argument("--workloads", type=_listed(WORKLOADS), metavar="NAME,...")
    parser.add_argument("--finders", type=_listed(FINDERS), metavar="NAME,...")
    parser.add_argument(
        "--limit", type=parse_bytes, help=f"default: {_LIMIT}; quick: {_QUICK_LIMIT}"
    )
    parser.add_argument(
        "--timeout", type=float, default=300.0, help="seconds for a search (default: %(default)g)"
    )
    parser.add_argument(
        "--no-survival", dest="survival", action="store_false", help="leave the group out"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("benchmark.json"))
    parser.add_argument("--from", dest="from_file", type=Path, help="raw results to print again")
    parser.add_argument(
        "--write-docs", action="store_true", help="tables and plot of docs/benchmark.md"
    )
    arguments = parser.parse_args()
    is_quick = arguments.quick
    limit = _QUICK_LIMIT if is_quick else _LIMIT
    arguments.limit = arguments.limit or parse_bytes(limit)
    arguments.repeats = arguments.repeats or (1 if is_quick else 3)
    arguments.rounds = arguments.rounds or (2 if is_quick else 6)
    arguments.workloads = arguments.workloads or (_QUICK_WORKLOADS if is_quick else WORKLOADS)
    arguments.finders = arguments.finders or (_QUICK_FINDERS if is_quick else FINDERS)
    return arguments


def _listed(names: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := sorted(set(chosen) - set(names)):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not in {', '.join(names)}")
        return chosen

    return parse


def _parse_more(text: str) -> dict[str, int]:
    repeats = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        if name not in FINDERS or not number.isdecimal():
            raise argparse.ArgumentTypeError(
                f"{part}: not FINDER=N with one of {', '.join(FINDERS)}"
            )
        repeats[name] = int(number)
    return repeats


def load_document(arguments: argparse.Namespace) -> dict[str, Any]:
    """Raw results: those of a file, or none yet, with the machine and the versions."""
    if arguments.from_file:
        document: dict[str, Any] = json.loads(arguments.from_file.read_text())
        return document
    return {"machine": describe_machine(), "runs": [], "timings": {}, "survival": []}


def describe_machine() -> dict[str, Any]:
    """Machine, versions and date."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {
        "hardware": CpuDevice().hardware_name(),
        "num_cores": count_usable_cores(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": versions,
        "date": datetime.now(timezone.utc).date().isoformat(),
    }


def save(document: dict[str, Any], path: Path) -> None:
    """Write the raw results, so that whatever ends the benchmark loses none."""
    beside = path.with_name(f"{path.name}.part")
    beside.write_text(json.dumps(document, indent=1))
    os.replace(beside, path)


def measure_finders(document: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Every finder on every workload in turn, the order of the finders turned at each repeat."""
    counts = {
        finder: max(arguments.repeats, arguments.more.get(finder, 0))
        for finder in arguments.finders
    }
    search = partial(run_finder, limit_bytes=arguments.limit, timeout_s=arguments.timeout)
    for repeat in range(max(counts.values())):
        finders = [finder for finder in arguments.finders if repeat < counts[finder]]
        shift = repeat % len(finders)
        for workload in arguments.workloads:
            for finder in (*finders[shift:], *finders[:shift]):
                document["runs"].append(search(finder, workload, repeat=repeat))
                save(document, arguments.output)


def measure_throughput(document: dict[str, Any], arguments: argparse.Namespace) -> None:
    """The oracle, with all sizes that were answered with."""
    for workload in arguments.workloads:
        chosen = [
            run["batch_size"]
            for run in document["runs"]
            if run["workload"] == workload and run["outcome"] == "answered"
        ]
        document["timings"][workload] = timing = run_timing(
            workload,
            chosen,
            num_rounds=arguments.rounds,
            limit_bytes=arguments.limit,
            timeout_s=arguments.timeout * arguments.rounds,
        )
        save(document, arguments.output)
        largest = timing.get("largest", timing.get("message"))
        report(f"oracle {workload}: largest {largest}, {timing['process_s']:.0f} s")


def measure_survival(document: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Every finder in a cgroup, on what wants far more than there is."""
    with make_memory_group(_GROUP_LIMIT_BYTES) as group:
        if group is None:
            report("no cgroup can be made here: survival is not tested")
            return
        limits = {"limit_bytes": _GROUP_LIMIT_BYTES, "timeout_s": arguments.timeout}
        for finder in arguments.finders:
            row = run_finder(finder, _SURVIVAL_WORKLOAD, repeat=0, group=group, **limits)
            document["survival"].append(row)
            save(document, arguments.output)


def print_report(document: dict[str, Any]) -> None:
    """Everything on standard output."""
    for title, (header, rows) in list_tables(document):
        print_table(title, header, rows)
    print(describe_conditions(document))


def list_tables(document: dict[str, Any]) -> list[tuple[str, Table]]:
    """Titles and tables."""
    return [
        ("answers over all workloads", tabulate_quality(document)),
        ("searches over all workloads", tabulate_conduct(document)),
        ("sizes, with how often they were chosen", tabulate_answers(document)),
        ("median time of a search", tabulate_times(document)),
        ("targets", tabulate_targets(document)),
    ]


def tabulate_targets(document: dict[str, Any]) -> Table:
    """What autobatch is to reach, and what it did."""
    verdicts = {True: "met", False: "NOT MET", None: ""}
    rows = [[name, figure, verdicts[is_met]] for name, figure, is_met in check_targets(document)]
    return ("target", "measured", ""), rows


def describe_conditions(document: dict[str, Any]) -> str:
    """Where and with what it was measured."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    limit = format_bytes(document["runs"][0]["limit_bytes"])
    return (
        f"{machine['date']}, {machine['num_cores']} cores of {machine['hardware']}, "
        f"{machine['system']}, Python {machine['python']}; {versions}. Memory limit {limit}, "
        f"searches of each: {_count_repeats(document)}, in "
        f"{machine.get('seconds', 0) / 60:.0f} minutes."
    )


def _count_repeats(document: dict[str, Any]) -> str:
    counts = {run["finder"]: 0 for run in document["runs"]}
    for run in document["runs"]:
        counts[run["finder"]] = max(counts[run["finder"]], run["repeat"] + 1)
    usual = min(counts.values())
    more = [f"{count} of {name}" for name, count in counts.items() if count > usual]
    return str(usual) + (f" ({', '.join(more)})" if more else "")


def write_docs(document: dict[str, Any]) -> None:
    """Put the tables between the markers of docs/benchmark.md, and the plot beside it."""
    plot_finders(document, ROOT / "docs" / "benchmark.svg")
    tables = [render_markdown(table) for _, table in list_tables(document)]
    plot = "![throughput at the answer against search time](benchmark.svg)"
    body = "\n\n".join([describe_conditions(document), *tables, plot])
    _PAGE.write_text(replace_between_markers(_PAGE.read_text(), body))


if __name__ == "__main__":
    sys.exit(main())

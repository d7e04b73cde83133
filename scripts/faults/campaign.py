"""Does any fault lose the answer? Hundreds of runs, each with something that goes wrong.

Each run is a real process on a small target in a temporary folder, and must end in time with an
answer that ran or with a clear error, leave no process and no file behind, and keep what it had
measured. What is random comes from the seed; what the scheduler does with it does not. Linux
only; as root it also fills a disk. Exit status 1 if anything was lost.

    python -m scripts.faults.campaign [--runs 200] [--seed 0] [--jobs 2]
    python -m scripts.faults.campaign --only sigint --run 7
"""

from __future__ import annotations

import argparse
import os
import resource
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil

from scripts.faults.checks import Done, find_losses
from scripts.faults.kinds import KINDS, make_sample_finding
from scripts.faults.scene import MARK_NAME, Scene
from scripts.workbench import ROOT, make_parser, print_table

TOKEN_NAME = "AUTOBATCH_FAULT_TOKEN"
# Searches are given 20 s, and start and end beside it; nothing may take longer than this.
TIME_LIMIT_S = 60
_GRACE_S = 3.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """One run, and what it lost."""

    kind: str
    number: int
    has_struck: bool
    command: str
    done: Done
    losses: list[str]


def main() -> int:
    """Run all and print."""
    arguments = parse_arguments()
    plan = list(make_plan(arguments))
    # A shell that runs this in the background has Ctrl-C ignored, by all that is started as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    make_sample_finding()  # once, before several ask at once
    begin = time.monotonic()
    with ThreadPoolExecutor(arguments.jobs) as pool:
        reports = []
        for report in pool.map(lambda each: perform(*each, seed=arguments.seed), plan):
            reports.append(report)
            print_progress(report)
    print_summary(reports)
    lost = [report for report in reports if report.losses]
    for report in lost:
        print_lost(report, arguments.seed)
    longest_s = max(report.done.elapsed_s for report in reports)
    minutes = (time.monotonic() - begin) / 60
    print(
        f"seed {arguments.seed}: {len(reports)} runs in {minutes:.0f} min, the longest "
        f"{longest_s:.0f} s, {len(lost)} lost something"
    )
    return 1 if lost else 0


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=200, help="shared among the kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="runs side by side")
    parser.add_argument("--only", choices=KINDS, help="one kind alone")
    parser.add_argument("--run", type=int, help="with --only: this run of the kind alone")
    arguments = parser.parse_args()
    if arguments.run is not None and arguments.only is None:
        parser.error("--run needs --only")
    return arguments


def make_plan(arguments: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Kind and number of each run, kinds in turn."""
    if arguments.run is not None:
        yield arguments.only, arguments.run
        return
    kinds = list(KINDS)
    for index in range(arguments.runs):
        kind, number = kinds[index % len(kinds)], index // len(kinds)
        if arguments.only in (None, kind):
            yield kind, number


def perform(kind: str, number: int, *, seed: int) -> Report:
    """Prepare a run, run it, and look at what is left."""
    with tempfile.TemporaryDirectory(prefix="autobatch-fault-") as base, ExitStack() as stack:
        folder = Path(base) / "work"
        folder.mkdir()
        scene = Scene(
            folder=folder,
            mark=Path(base) / "mark",
            random=Random(f"{seed}/{kind}/{number}"),
            stack=stack,
        )
        KINDS[kind](scene)
        done = execute(scene)
        return Report(
            kind=kind,
            number=number,
            has_struck=scene.mark.exists(),
            command=shlex.join(["autobatch", *scene.arguments]),
            done=done,
            losses=find_losses(scene, done),
        )


def execute(scene: Scene) -> Done:
    """Run autobatch while the fault strikes."""
    token = secrets.token_hex(8)
    environment = {
        **os.environ,
        TOKEN_NAME: token,
        MARK_NAME: str(scene.mark),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(scene.folder),
    }
    begin = time.monotonic()
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "autobatch", *scene.arguments],
            cwd=scene.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=full if scene.stdout_is_full else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    if scene.file_size_limit is not None:
        limits = (scene.file_size_limit, scene.file_size_limit)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)
    if scene.strike is not None:
        threading.Thread(target=scene.strike, args=(process,), daemon=True).start()
    was_late = False
    try:
        stdout, stderr = process.communicate(timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        was_late = True
        end_all(token)
        stdout, stderr = process.communicate()
    return Done(
        exit_code=process.returncode,
        stdout=stdout or "",
        stderr=stderr,
        was_late=was_late,
        orphans=wait_for_orphans(token),
        elapsed_s=time.monotonic() - begin,
    )


def wait_for_orphans(token: str) -> tuple[str, ...]:
    """Command lines of processes that are still there after a moment; they are ended then."""
    deadline = time.monotonic() + _GRACE_S
    while find_processes(token) and time.monotonic() < deadline:
        time.sleep(0.05)
    orphans = []
    for process in find_processes(token):
        with suppress(psutil.Error):
            orphans.append(shlex.join(process.cmdline()))
    end_all(token)
    return tuple(orphans)


def find_processes(token: str) -> list[psutil.Process]:
    """All processes that were started by a run, however far down."""
    wanted = f"{TOKEN_NAME}={token}".encode()
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            variables = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
            if wanted in variables:
                found.append(process)
    return found


def end_all(token: str) -> None:
    """End whatever a run has started."""
    for process in find_processes(token):
        with suppress(psutil.Error):
            process.kill()


def print_progress(report: Report) -> None:
    """One line on standard error."""
    done = report.done
    verdict = "; ".join(report.losses) or ("answer" if done.is_answer else "clear error")
    struck = "" if report.has_struck else " (never struck)"
    line = f"{report.kind} {report.number}{struck}: exit {done.exit_code}, {verdict}"
    print(f"{line}, {done.elapsed_s:.1f} s", file=sys.stderr, flush=True)


def print_summary(reports: list[Report]) -> None:
    """A table of all kinds."""
    rows = []
    for kind in [*KINDS, "all"]:
        own = [report for report in reports if kind in (report.kind, "all")]
        whole = [report for report in own if not report.losses]
        num_answers = sum(report.done.is_answer for report in whole)
        num_struck = sum(report.has_struck for report in own)
        num_lost = len(own) - len(whole)
        if own:
            rows.append(
                (kind, len(own), num_struck, num_answers, len(whole) - num_answers, num_lost)
            )
    header = ("kind", "runs", "struck", "answers", "clear errors", "lost")
    print_table("runs in which something goes wrong", header, rows)


def print_lost(report: Report, seed: int) -> None:
    """Everything about a run that lost something."""
    print(f"\nLOST: {'; '.join(report.losses)}")
    print(f"  again:   --seed {seed} --only {report.kind} --run {report.number}")
    print(f"  command: {report.command}")
    print(f"  exit:    {report.done.exit_code} after {report.done.elapsed_s:.1f} s")
    for line in report.done.stderr[-4000:].splitlines():
        print(f"  | {line[:200]}")


if __name__ == "__main__":
    sys.exit(main())

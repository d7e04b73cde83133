"""Does a fault on one of several ranks become an outcome that names it? Hundreds of them, seeded.

Each run strikes one rank at one moment of a trial, and then runs a healthy trial. Said are the
outcomes, the rank and the cause that were named, the time from the request to the outcome, and
whether a process was left. Linux only. Exit status 1 if anything was lost or named wrongly.

    python -m scripts.faults.ranks [--runs 300] [--seed 0] [--only ddp2]
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import signal
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

import psutil

from autobatch.probe.protocol import TimingPlan
from autobatch.ranks.prober import GroupProber
from autobatch.ranks.settings import RanksSettings
from autobatch.records import Settings, Trial
from scripts.workbench import make_parser, print_table

TOKEN_NAME = "AUTOBATCH_FAULT_TOKEN"
TARGET = Path(__file__).parent / "ranks_target.py"
CONFIGS = {"ddp2": ("ddp", 2), "ddp4": ("ddp", 4), "fsdp4": ("fsdp2", 4)}
MOMENTS = ("forward", "backward", "optimizer", "collective")
# What ends a trial by itself, and what only a time limit finds.
ANYWHERE = ("out_of_memory", "sigkill", "exception", "dead_worker", "ctrl_c", "sigstop", "hang")
KINDS = (*ANYWHERE, "never_arrives", "unequal_batches")
FOUND_BY_TIME = ("sigstop", "hang", "never_arrives")
OUTCOMES = {
    "out_of_memory": ("out_of_memory", "over_budget"),
    "sigkill": ("killed",),
    "exception": ("failed",),
    "dead_worker": ("fits",),  # the size runs once more
    "sigstop": ("timed_out",),
    "hang": ("timed_out",),
    "never_arrives": ("timed_out",),
    "unequal_batches": ("failed",),
    "ctrl_c": ("interrupted",),
}
CAUSES = {
    "sigkill": "SIGKILL",
    "exception": "a bug in the training code",
    "dead_worker": "its worker ended with exit status -9",
    "sigstop": "stopped",
    "hang": "ranks_target.py",
    "never_arrives": "ranks_target.py",
    "unequal_batches": "ended before one batch",
}
SIZE, TIME_LIMIT_S, PATIENCE_S = 16, 4.0, 30.0
# Beyond its time limit.
MOST_LATE_S = 5.0
PLAN = TimingPlan(max_time_s=0.1, min_steps=3)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens, where and when."""

    kind: str
    moment: str
    step: int
    rank: int


@dataclass(frozen=True, kw_only=True)
class Report:
    """What came of one fault."""

    config: str
    fault: Fault
    outcome: str
    message: str
    time_s: float
    next_outcome: str
    losses: tuple[str, ...]


def main() -> int:
    """Run all and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=300, help="shared among the configurations")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=CONFIGS, help="one configuration alone")
    parser.add_argument("--kinds", default=",".join(KINDS), help="some kinds alone")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    configs = [arguments.only] if arguments.only else list(CONFIGS)
    kinds = arguments.kinds.split(",")
    reports, left = [], 0
    for index, config in enumerate(configs):
        num_runs = len(range(index, arguments.runs, len(configs)))
        for report in run_config(config, num_runs, arguments.seed, kinds):
            reports.append(report)
            print_report(report)
        left += len(find_left())
    print_summary(reports)
    lost = [report for report in reports if report.losses]
    print(
        f"seed {arguments.seed}: {len(reports)} faults, {len(lost)} lost something or were named "
        f"wrongly, {left} processes left"
    )
    return 1 if lost or left else 0


def make_faults(config: str, seed: int, kinds: list[str]) -> Iterator[Fault]:
    """Endless faults: kinds in turn, the rest at random."""
    random = Random(f"{seed}/{config}")
    num_ranks = CONFIGS[config][1]
    for kind in itertools.cycle(kinds):
        moment = random.choice(MOMENTS) if kind in ANYWHERE else "data"
        # The first two steps are gated, the others are not.
        step = random.choice((0, 1, 3)) if kind in ANYWHERE else 0
        yield Fault(kind=kind, moment=moment, step=step, rank=random.randrange(num_ranks))


def run_config(config: str, num_runs: int, seed: int, kinds: list[str]) -> Iterator[Report]:
    """Strike the ranks of one configuration, and run a healthy trial after each fault."""
    with tempfile.TemporaryDirectory(prefix="autobatch-fault-") as folder, ExitStack() as stack:
        path = Path(folder) / "fault.json"
        told: list[str] = []
        prober = stack.enter_context(make_prober(config, path, told))
        prober.load(timeout_s=300)
        for fault in itertools.islice(make_faults(config, seed, kinds), num_runs):
            path.write_text(json.dumps({**vars(fault), "leader": os.getpid()}))
            limit_s = TIME_LIMIT_S if fault.kind in FOUND_BY_TIME else PATIENCE_S
            told.clear()
            begin = time.monotonic()
            outcome, message = measure_struck(prober, limit_s)
            message = message or next(filter(None, told), "")
            time_s = time.monotonic() - begin
            path.unlink(missing_ok=True)
            if fault.kind == "ctrl_c":  # as the command line does: leave, and be called again
                stack.close()
                prober = stack.enter_context(make_prober(config, path, told))
                prober.load(timeout_s=300)
            healthy = prober.measure(SIZE, PLAN, timeout_s=120)
            losses = find_losses(fault, outcome, message, time_s - limit_s, healthy)
            yield Report(
                config=config,
                fault=fault,
                outcome=outcome,
                message=message,
                time_s=time_s,
                next_outcome=healthy.outcome.value,
                losses=tuple(losses),
            )


def make_prober(config: str, path: Path, told: list[str]) -> GroupProber:
    """A prober of the target, whose processes can be told from all others, and what it tells."""
    parallel, num_ranks = CONFIGS[config]
    variables = {
        "AUTOBATCH_RANK_FAULT": str(path),
        "AUTOBATCH_RANK_PARALLEL": parallel,
        TOKEN_NAME: TOKEN,
    }
    settings = Settings(
        device="cpu", num_devices=num_ranks, variables=variables, memory_limit_bytes=2**32
    )
    asked = RanksSettings(nproc_per_node=num_ranks)
    return GroupProber.of_target(str(TARGET), settings, asked, on_stage=told.append)


def measure_struck(prober: GroupProber, limit_s: float) -> tuple[str, str]:
    """The outcome of a trial, and what was said."""
    try:
        trial = prober.measure(SIZE, PLAN, timeout_s=limit_s)
    except KeyboardInterrupt:
        return "interrupted", ""
    except Exception as error:
        return type(error).__name__, str(error)
    return trial.outcome.value, trial.message


def find_losses(
    fault: Fault, outcome: str, message: str, late_s: float, healthy: Trial
) -> Iterator[str]:
    """What one run lost."""
    if outcome not in OUTCOMES[fault.kind]:
        yield f"outcome {outcome}"
    if fault.kind != "ctrl_c" and not message.startswith(f"rank {fault.rank}: "):
        yield "wrong rank"
    if CAUSES.get(fault.kind, "") not in message:
        yield "wrong cause"
    if late_s > MOST_LATE_S:
        yield f"{late_s:.1f} s late"
    if not healthy.fits:
        yield f"next trial {healthy.outcome.value}: {healthy.message}"


def find_left() -> list[psutil.Process]:
    """Processes that are left a second after the last one should be gone."""
    time.sleep(1.0)
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            is_ours = process.environ().get(TOKEN_NAME) == TOKEN
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                left.append(process)
    return left


def print_report(report: Report) -> None:
    """One line for one fault."""
    fault = report.fault
    print(
        f"{report.config:6} {fault.kind:16} {fault.moment:10} step {fault.step} rank {fault.rank}: "
        f"{report.outcome} after {report.time_s:.2f} s {'; '.join(report.losses)}",
        flush=True,
    )
    if report.losses:
        print(f"       {report.message}", flush=True)


def print_summary(reports: list[Report]) -> None:
    """A line for each configuration and kind."""
    groups: dict[tuple[str, str], list[Report]] = defaultdict(list)
    for report in reports:
        groups[report.config, report.fault.kind].append(report)
    rows = [
        (
            config,
            kind,
            str(len(group)),
            str(sum(not each.losses for each in group)),
            f"{median(each.time_s for each in group):.2f}",
            f"{max(each.time_s for each in group):.2f}",
        )
        for (config, kind), group in groups.items()
    ]
    header = ("ranks", "fault", "runs", "right", "median s", "longest s")
    print_table("Faults on one of several ranks", header, rows)


TOKEN = secrets.token_hex(8)

if __name__ == "__main__":
    raise SystemExit(main())

"""The checks of ``validate``: each runs real searches and returns its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autobatch.decide.bracket import measured_peaks
from autobatch.decide.memory import fit_memory
from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Goal, Settings
from scripts.claims import largest, throughput
from scripts.workbench import ROOT, WIDE_TARGET, example_path, search

_NEIGHBOUR = """
import sys
import torch
block = torch.ones(int(sys.argv[2]), dtype=torch.uint8, device=sys.argv[1])
print(int(block[-1]), flush=True)
sys.stdin.readline()
"""
_PLAN = TimingPlan(max_time_s=0.1)
_PEAK_TOLERANCE_FRACTION = 0.1
_REGRET_FRACTION = 0.05
_FAR_TOO_LARGE = 2**22


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the checks run on.

    Attributes:
        device: Its name, such as ``cuda:0``.
        folder: For reports.
        capacity_bytes: All the memory that there is.
        fractions: Shares of it to limit searches to.
        neighbour_fraction: Share of what is free that a neighbour takes.
        num_rounds: Rounds of timing in turn.
        examples: Examples whose throughput is checked.
    """

    device: str
    folder: Path
    capacity_bytes: int
    fractions: tuple[float, ...]
    neighbour_fraction: float
    num_rounds: int
    examples: tuple[str, ...]

    def settings(self, fraction: float | None = None, **changes: Any) -> Settings:
        """Settings for this device, under a share of its memory."""
        limit = None if fraction is None else round(fraction * self.capacity_bytes)
        return Settings(device=self.device, memory_limit_bytes=limit, **changes)


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a check found.

    Attributes:
        passed: Whether it is as it must be.
        figures: What was measured, as JSON takes it.
    """

    passed: bool
    figures: dict[str, Any] = field(default_factory=dict)


def check_largest_size(bench: Bench) -> Result:
    """The largest size under each share of the memory is what trying all sizes finds."""
    rows: list[dict[str, Any]] = []
    for fraction in bench.fractions:
        settings = bench.settings(fraction, goal=Goal.MEMORY)
        begin = time.perf_counter()
        found, num_trials, num_failures = largest.search(WIDE_TARGET, settings)
        search_time_s = time.perf_counter() - begin
        exhaustive, closest = largest.run_all(WIDE_TARGET, settings)
        rows.append(
            {
                "memory_fraction": fraction,
                "limit_bytes": settings.memory_limit_bytes,
                "search": found,
                "exhaustive": exhaustive,
                "closest_to_budget": closest,
                "num_trials": num_trials,
                "num_failed_trials": num_failures,
                "search_time_s": search_time_s,
            }
        )
    return Result(
        passed=all(row["search"] == row["exhaustive"] > 0 for row in rows), figures={"rows": rows}
    )


def check_no_escape(bench: Bench) -> Result:
    """Running out of memory, again and again, is an outcome, and the next trial runs."""
    outcomes = []
    settings = bench.settings(bench.fractions[0])
    with TargetProber(WIDE_TARGET, settings) as prober:
        prober.load()
        for _ in range(5):
            large = prober.measure(_FAR_TOO_LARGE, _PLAN, timeout_s=300)
            small = prober.measure(4, _PLAN, timeout_s=300)
            outcomes.append([large.outcome.value, small.outcome.value, large.message])
    command = [sys.executable, "-m", "autobatch", "probe", WIDE_TARGET, "--json", "-q"]
    command += ["--goal", "memory", "--device", bench.device]
    command += ["--memory-limit", str(settings.memory_limit_bytes)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    finding = json.loads(done.stdout) if done.returncode == 0 else {}
    passed = done.returncode == 0 and finding["peak_bytes"] <= finding["budget_bytes"]
    refused = {"out_of_memory", "over_budget"}
    passed &= all(large in refused and small == "fits" for large, small, _ in outcomes)
    return Result(
        passed=passed,
        figures={
            "outcomes": outcomes,
            "exit_status": done.returncode,
            "stderr": done.stderr[-2000:],
            "peak_bytes": finding.get("peak_bytes"),
            "budget_bytes": finding.get("budget_bytes"),
        },
    )


def check_prediction(bench: Bench) -> Result:
    """The memory line of smaller sizes predicts the peak of one four times as large."""
    rows = []
    for fraction in bench.fractions:
        with TargetProber(WIDE_TARGET, bench.settings(fraction)) as prober:
            prober.load()
            trials = {}
            for size in (2**power for power in range(27)):
                trials[size] = prober.measure(size, _PLAN, timeout_s=300)
                if not trials[size].fits:
                    break
        peaks = measured_peaks(trials)
        top = max(peaks)
        curve = fit_memory({size: peak for size, peak in peaks.items() if size <= top // 4})
        predicted = curve.peak_bytes(top) if curve else 0.0
        rows.append(
            {
                "memory_fraction": fraction,
                "batch_size": top,
                "predicted_bytes": round(predicted),
                "measured_bytes": peaks[top],
                "error_fraction": predicted / peaks[top] - 1,
            }
        )
    passed = all(abs(row["error_fraction"]) <= _PEAK_TOLERANCE_FRACTION for row in rows)
    return Result(passed=passed, figures={"rows": rows})


def check_throughput_regret(bench: Bench) -> Result:
    """The chosen size is within 5 % of the fastest, timed in turn."""
    rows: list[dict[str, Any]] = []
    for name in bench.examples:
        chosen, fastest, ratio, interval, verdict = throughput.measure(
            example_path(name), bench.num_rounds, bench.settings()
        )
        rows.append(
            {
                "example": name,
                "chosen": chosen,
                "fastest": fastest,
                "regret_fraction": round(1 - float(ratio), 3),
                "ratio_90_percent_interval": interval,
                "verdict": verdict,
            }
        )
    return Result(
        passed=all(row["regret_fraction"] <= _REGRET_FRACTION for row in rows),
        figures={"rows": rows},
    )


def check_neighbour(bench: Bench) -> Result:
    """What a neighbour holds is not in the budget, and the answer fits beside it."""
    settings = bench.settings(goal=Goal.MEMORY if bench.device != "cpu" else Goal.THROUGHPUT)
    alone_bytes = read_budget(bench, settings)
    held_bytes = round(bench.neighbour_fraction * alone_bytes)
    with neighbour(bench.device, held_bytes):
        beside_bytes = read_budget(bench, settings)
        finding = search(WIDE_TARGET, settings)
    peak_bytes = finding.recommendation.peak_bytes or 0
    missing_bytes = held_bytes - (alone_bytes - beside_bytes)
    return Result(
        # Beside its block the neighbour holds a context, and others come and go.
        passed=peak_bytes <= beside_bytes and missing_bytes < 0.1 * held_bytes,
        figures={
            "held_bytes": held_bytes,
            "budget_alone_bytes": alone_bytes,
            "budget_beside_bytes": beside_bytes,
            "batch_size": finding.batch_size,
            "peak_bytes": peak_bytes,
            "was_confirmed": finding.confirmation is not None,
        },
    )


def check_search_time(bench: Bench) -> Result:
    """How long a search takes as it is started by default; throttling with it."""
    rows = []
    for name in bench.examples:
        finding = search(example_path(name), bench.settings())
        chosen = next(t for t in finding.trials if t.batch_size == finding.batch_size and t.fits)
        rows.append(
            {
                "example": name,
                "batch_size": finding.batch_size,
                "search_time_s": finding.search_time_s,
                "num_trials": len(finding.trials),
                "samples_per_s": finding.recommendation.samples_per_s,
                "throttle_reasons": chosen.throttle_reasons,
                "host_peak_bytes": chosen.host_peak_bytes,
                "pinned_bytes": chosen.pinned_bytes,
                "unknown": chosen.unknown,
                "warnings": [warning.code.value for warning in finding.warnings],
            }
        )
    return Result(passed=bool(rows), figures={"rows": rows})


def check_tests(bench: Bench) -> Result:
    """``pytest tests/gpu --require-gpu``; on the CPU without the requirement."""
    report = bench.folder / "junit.xml"
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "tests/gpu", "-p", "no:cacheprovider"]
    command += [f"--junitxml={report}"] + ["--require-gpu"] * (bench.device != "cpu")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    counts = {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")}
    return Result(
        passed=done.returncode == 0,
        figures={"exit_status": done.returncode, **counts, "output": done.stdout[-4000:]},
    )


def read_budget(bench: Bench, settings: Settings) -> int:
    """What a worker that is started now would have to itself."""
    with TargetProber(WIDE_TARGET, settings) as prober:
        return prober.load().budget.budget_bytes


@contextmanager
def neighbour(device: str, held_bytes: int) -> Any:
    """Another process that holds so much of the device's memory."""
    process = subprocess.Popen(
        [sys.executable, "-c", _NEIGHBOUR, device, str(held_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "1\n":
            raise RuntimeError(f"the neighbour could not take {held_bytes} bytes of {device}")
        yield
    finally:
        process.kill()
        process.communicate()


CHECKS: dict[str, Callable[[Bench], Result]] = {
    "largest": check_largest_size,
    "no_escape": check_no_escape,
    "prediction": check_prediction,
    "regret": check_throughput_regret,
    "neighbour": check_neighbour,
    "search_time": check_search_time,
    "tests": check_tests,
}

"""What plain training says about the answers: all sizes, and the chosen one for long."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import Any

from autobatch.records import Goal
from scripts.gpu.stages.bench import Bench, PlainTraining, run_command
from scripts.gpu.stages.search import find_answer

_LARGEST = {True: 2**14, False: 8}
_LONGEST_STEP_S = 3.0
_FRESH_S = 40.0
_PEAK_TOLERANCE_FRACTION = 0.05
_WITHIN_FRACTION = 0.95
_SUSTAINED_S = {True: 10.0, False: 2.0}


def run_truth(bench: Bench) -> None:
    """All powers of two, then the answers again in processes of their own."""
    found: dict[str, Any] = {}
    for target in bench.targets:
        found[target] = {"sizes": []}
        training = PlainTraining(target, bench.device)
        size = 1
        while size <= _LARGEST[bench.is_gpu]:
            run = training.run(size)
            found[target]["sizes"].append(asdict(run))
            bench.save(targets=found)
            if not run.fits or max(run.synchronized_s) > _LONGEST_STEP_S:
                break
            size *= 2
        del training
        compare_throughput(bench, target, found[target]["sizes"])
    for target in bench.targets:
        compare_largest(bench, target)


def compare_throughput(bench: Bench, target: str, sizes: list[dict[str, Any]]) -> None:
    """Whether the chosen size is within 5 % of the best, in chains of steps.

    Args:
        bench: Has the answer.
        target: What was trained.
        sizes: Plain runs.
    """
    rates = {
        run["batch_size"]: run["batch_size"] / run["chained_s"] for run in sizes if run["chained_s"]
    }
    chosen = find_answer(bench, target, Goal.THROUGHPUT).get("batch_size")
    if not bench.is_gpu or chosen not in rates:
        return
    ratio = rates[chosen] / max(rates.values())
    bench.claim(
        f"{target}: the chosen size is as fast as any",
        ratio >= _WITHIN_FRACTION,
        f"{chosen}: {ratio:.3f} of the best",
    )


def compare_largest(bench: Bench, target: str) -> None:
    """Run the largest size, and twice it, in fresh processes at the budget that it was found under.

    Args:
        bench: Has the answer.
        target: What was trained.
    """
    finding = find_answer(bench, target, Goal.MEMORY)
    if not finding:
        bench.save(**{f"{target}, largest": "no answer"})
        return
    largest, budget_bytes = finding["batch_size"], finding["budget_bytes"]
    runs: dict[int, dict[str, Any]] = {}
    for factor in (1, 2):
        runs[factor] = train_fresh(bench, target, factor * largest, budget_bytes)
        figures = {"batch_size": largest, "budget_bytes": budget_bytes, "runs": runs}
        bench.save(**{f"{target}, largest": figures})
    if bench.is_gpu:
        fits = [runs[factor].get("fits") for factor in (1, 2)]
        why = f"{largest} fits: {fits[0]}, {2 * largest} fits: {fits[1]}"
        bench.claim(f"{target}: the largest is the largest", fits == [True, False], why)
        compare_peaks(bench, target, finding, runs[1])


def compare_peaks(bench: Bench, target: str, finding: dict[str, Any], run: dict[str, Any]) -> None:
    """Whether the reported peak is that of a fresh process.

    Args:
        bench: Keeps the claim.
        target: What was trained.
        finding: Has the reported peak.
        run: The fresh process.
    """
    reported, fresh = finding["peak_bytes"], run.get("process_bytes")
    if reported and fresh:
        bench.claim(
            f"{target}: the peak is that of a fresh process",
            abs(reported / fresh - 1) <= _PEAK_TOLERANCE_FRACTION,
            f"reported {reported}, fresh {fresh} bytes",
        )


def train_fresh(bench: Bench, target: str, batch_size: int, budget_bytes: int) -> dict[str, Any]:
    """Train in a fresh process that may hold so much in all.

    Args:
        bench: Says where.
        target: What to train.
        batch_size: The size.
        budget_bytes: Memory of the process, context included.
    """
    command = [sys.executable, "-m", "scripts.gpu.stages.fresh", target, str(batch_size)]
    done = run_command([*command, bench.device, str(budget_bytes)], timeout_s=_FRESH_S)
    if done["exit_status"] != 0:
        return done
    result: dict[str, Any] = json.loads(done["stdout"].splitlines()[-1])
    return result


def run_sustained(bench: Bench) -> None:
    """The chosen size without a break: what rate lasts, beside what was reported."""
    target = bench.targets[0]
    finding = find_answer(bench, target, Goal.THROUGHPUT)
    size = finding.get("batch_size") or 32
    training = PlainTraining(target, bench.device)
    step = training.steps(size)
    bench.save(batch_size=size, reported=finding.get("samples_per_s"))
    step()
    training.wait()
    rates, begin = [], time.perf_counter()
    while time.perf_counter() - begin < _SUSTAINED_S[bench.is_gpu]:
        chain_begin = time.perf_counter()
        for _ in range(10):
            step()
        training.wait()
        rates.append(10 * size / (time.perf_counter() - chain_begin))
        bench.save(samples_per_s=rates)
    if bench.is_gpu and finding.get("samples_per_s"):
        ratio = finding["samples_per_s"] / rates[-1]
        bench.claim(
            "the reported throughput lasts", 0.9 <= ratio <= 1.1, f"reported over last: {ratio:.3f}"
        )

"""The command as a user runs it, and the recordings that searches are replayed from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from autobatch.records import Goal
from scripts.gpu.stages.bench import Bench, find_precision, run_command
from scripts.replay.record import record_sweeps, save

_LONGEST_SEARCH_S = 30.0
# Loading is part of it. Four searches are what the stage has time for.
_TIME_LIMIT_S = {True: 28, False: 20}
_RECORDING_S = {True: 30, False: 5}


def run_search(bench: Bench) -> None:
    """``autobatch probe`` of each target for both goals; the whole finding is kept.

    Its trials are in the stage's log as they end.
    """
    found: dict[str, Any] = {}
    for target in bench.targets:
        for goal in (Goal.THROUGHPUT, Goal.MEMORY):
            name = f"{target}, {goal.value}"
            file = bench.out / f"finding-{len(found)}.json"
            done = run_command(make_command(bench, target, goal, file), timeout_s=50)
            found[name] = {**done, "finding": file.name if file.exists() else None}
            bench.save(searches=found)
            is_quick = done["time_s"] <= _LONGEST_SEARCH_S or not bench.is_gpu
            bench.claim(
                f"{name}: an answer in time",
                done["exit_status"] == 0 and is_quick,
                f"exit status {done['exit_status']}, {done['time_s']:.0f} s",
            )


def make_command(bench: Bench, target: str, goal: Goal, file: Path) -> list[str]:
    """The command line of a search.

    Args:
        bench: Says where it runs.
        target: What to train.
        goal: What to find.
        file: Receives the finding.
    """
    options = ["--goal", goal.value, "--device", bench.device, "-o", str(file)]
    options += ["--time-limit", f"{_TIME_LIMIT_S[bench.is_gpu]}s"]
    options += ["--precision", find_precision(target, bench.device).value]
    if not bench.is_gpu:
        options += ["--max-batch-size", "4"]
    return [sys.executable, "-m", "autobatch", "probe", target, *options]


def find_answer(bench: Bench, target: str, goal: Goal) -> dict[str, Any]:
    """The recommendation that the search of a target gave; empty if there is none.

    Args:
        bench: Has the files.
        target: What was trained.
        goal: What was asked for.
    """
    searches = bench.figures_of("search").get("searches", {})
    name = searches.get(f"{target}, {goal.value}", {}).get("finding")
    if name is None:
        return {}
    answer: dict[str, Any] = json.loads((bench.out / name).read_text())
    return answer


def run_record(bench: Bench) -> None:
    """Record the timings of all sizes of each target, for ``scripts.replay.replay``."""
    for index, target in enumerate(bench.targets):
        path = bench.out / f"recording-{index}.json.xz"
        settings = bench.settings(precision=find_precision(target, bench.device))
        for recording in record_sweeps(target, _RECORDING_S[bench.is_gpu], settings):
            save(recording, path)
            bench.save(**{path.name: {"target": target, "num_cells": len(recording["cells"])}})

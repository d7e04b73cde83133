"""Starts the benchmark's child processes, each under the memory limit, and says how they ended."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from autobatch.devices.linux import die_with_parent
from scripts.fastest import HOPELESS_RATIO
from scripts.memory_group import MemoryGroup
from scripts.peers.recorder import read_steps_of
from scripts.workbench import ROOT, report

_CHILD = (sys.executable, "-m", "scripts.peers.child")
# The end of what a child that gave no result wrote to stderr.
_TAIL_CHARACTERS = 500
_POLL_S = 0.02
# Of sizes that a finder answered with, however slow.
_NUM_HOPELESS_ROUNDS = 2


def run_finder(
    finder: str,
    workload: str,
    *,
    repeat: int,
    limit_bytes: int,
    timeout_s: float,
    group: MemoryGroup | None = None,
) -> dict[str, Any]:
    """One search in a process of its own.

    Args:
        finder: Name of the finder.
        workload: Name of the workload.
        repeat: Number of the repeat, which seeds the process.
        limit_bytes: Memory that it may have, as in ``run_limited``, or the limit of ``group``.
        timeout_s: Time after which it is killed.
        group: A cgroup to run in, under no other limit.

    Returns:
        A raw row: ``outcome`` is ``answered``, ``raised``, ``not installed``, ``timed out`` or
        ``killed``; with times in seconds and memory in bytes.
    """
    with tempfile.TemporaryDirectory() as folder:
        steps_path = Path(folder, "steps.txt")
        command = ["search", finder, workload, str(repeat), str(steps_path)]
        row = run_limited([*_CHILD, *command], Path(folder), limit_bytes, timeout_s, group)
        steps = read_steps_of(steps_path)
    ran = row.get("batch_size") in steps.finished
    answer, search_s = row.get("batch_size", row.get("message")), row.get("search_s", 0.0)
    report(finder, workload, f"#{repeat}", row["outcome"], answer, f"{search_s:.1f} s")
    names = {"finder": finder, "workload": workload, "repeat": repeat}
    return {**names, **row, "ran": ran, "limit_bytes": limit_bytes, "steps": asdict(steps)}


def run_timing(
    workload: str, chosen: Iterable[int], *, num_rounds: int, limit_bytes: int, timeout_s: float
) -> dict[str, Any]:
    """Throughput of all powers of two and of ``chosen`` in turn, by the common timing code.

    Args:
        workload: Name of the workload.
        chosen: Sizes that were answered with.
        num_rounds: Rounds, each in a process of its own; all sizes are timed once in each, slow
            ones in the first alone, or in the first two if they are among ``chosen``.
        limit_bytes: Memory that a process may have.
        timeout_s: Time for all rounds, after which the one that runs is killed.

    Returns:
        What the survey of all sizes told, with ``rounds``, a list of its ``rates`` and those of
        every further round. Without it and with a ``message`` if a process gave no result.
    """
    chosen = sorted(set(chosen))
    survey = _time("survey", chosen, workload, 0, limit_bytes, timeout_s)
    if "rates" not in survey:
        return survey
    rounds = [survey.pop("rates")]
    for number in range(1, num_rounds):
        sizes = pick_sizes(rounds[0], chosen, number)
        left_s = timeout_s - survey["process_s"]
        timed = _time("time", sizes, workload, number, limit_bytes, left_s)
        if "rates" not in timed:
            return timed
        rounds.append(timed["rates"])
        report(f"    round {number + 1} of {num_rounds}")
        survey["process_s"] += timed["process_s"]
    return {**survey, "rounds": rounds}


def pick_sizes(rates: dict[str, float], chosen: list[int], number: int) -> list[int]:
    """Sizes to time in round ``number``, up and down in turn.

    Args:
        rates: What the first round, of number 0, has measured, in samples per second by size.
        chosen: Sizes that were answered with.
        number: From 1.
    """
    least = HOPELESS_RATIO * max(rates.values())
    is_early = number < _NUM_HOPELESS_ROUNDS
    sizes = [
        int(size)
        for size, rate in rates.items()
        if rate >= least or (is_early and rate > 0 and int(size) in chosen)
    ]
    return sorted(sizes, reverse=number % 2 == 1)


def _time(
    task: str, sizes: list[int], workload: str, seed: int, limit_bytes: int, timeout_s: float
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [*_CHILD, task, ",".join(map(str, sizes)), workload, str(seed)]
        return run_limited(command, Path(folder), limit_bytes, timeout_s)


def run_limited(
    command: list[str],
    folder: Path,
    limit_bytes: int,
    timeout_s: float,
    group: MemoryGroup | None = None,
) -> dict[str, Any]:
    """One process in a folder; how it ended, and what it wrote to ``result.json`` there.

    Args:
        command: What is run; it finds this project's packages.
        folder: Its working folder.
        limit_bytes: Its soft and hard ``RLIMIT_DATA``, if it runs in no group.
        timeout_s: Time after which it is killed.
        group: A cgroup to run in, under no other limit.

    Returns:
        ``outcome``, ``process_s``, ``peak_bytes``, ``kills`` and the result, with a ``message``
        and the end of stderr where there is none.
    """
    search_path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    kills = group.count_kills() if group else 0
    begin = time.perf_counter()
    with open(folder / "stderr.txt", "w+") as stderr:
        process = subprocess.Popen(
            group.wrap(command) if group else command,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": search_path, "TMPDIR": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=partial(_prepare, None if group else limit_bytes),
        )
        exit_code, peak_bytes = _wait(process, timeout_s)
        stderr.seek(0)
        tail = stderr.read()[-_TAIL_CHARACTERS:]
    row: dict[str, Any] = {
        "outcome": _name_outcome(exit_code),
        "process_s": time.perf_counter() - begin,
        "peak_bytes": peak_bytes,
        "kills": group.count_kills() - kills if group else 0,
    }
    result_path = folder / "result.json"
    if exit_code is None:
        row["message"] = f"no answer within {timeout_s:g} s"
    elif result_path.exists() and (text := result_path.read_text()):
        row |= json.loads(text)
    elif exit_code < 0:
        row["message"] = f"ended by {signal.Signals(-exit_code).name}"
    elif exit_code > 0:
        row["message"] = f"exit status {exit_code}, without a result"
    if exit_code != 0:
        row["stderr_tail"] = tail
    return row


def _wait(process: subprocess.Popen[bytes], timeout_s: float) -> tuple[int | None, int]:
    """Exit status, ``None`` if it took too long, and the peak of it and of those it waited for."""
    deadline = time.monotonic() + timeout_s
    is_late = False
    try:
        while True:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > deadline and not is_late:
                is_late = True
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(_POLL_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return None if is_late else process.returncode, usage.ru_maxrss * 1024


def _name_outcome(exit_code: int | None) -> str:
    if exit_code is None:
        return "timed out"
    return "killed" if exit_code < 0 else "raised" if exit_code else "answered"


def _prepare(limit_bytes: int | None) -> None:
    """In the child: no search outlives the benchmark, or goes beyond the limit."""
    die_with_parent()
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))

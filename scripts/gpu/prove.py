"""What a borrowed GPU must show, in a quarter of an hour: stage by stage, and nothing is lost.

    machine    35 s  times and memory of the context, raw NVML answers, clocks, copies
    allocator  45 s  plain training: peaks by step, the least cap that fits, allocator snapshots
    search     90 s  autobatch probe, for both goals
    truth      80 s  all powers of two in plain training, and the largest in a fresh process
    sustained  25 s  the chosen size for ten seconds without a break
    survival   45 s  out of memory, device asserts, size limits, weighted losses, states of __init__
    neighbour  35 s  a process beside it that holds half the memory, and one that grows
    call       45 s  find_batch_size in the middle of a training; pytest tests/gpu
    record    120 s  (named with --stages alone) timings of all sizes, for replays

Each stage is a process of its own with a limit, after which it is killed with all that it started.
Its JSON is there from the beginning, holds what was measured by then, and at the end how it ended;
``summary.json`` holds the verdicts. The folder has all that is needed to replay the run elsewhere.

It runs from a source tree, whether autobatch is installed or not. Packages that are missing are
taken from wheels in ``wheels/`` beside ``autobatch/``, for this Python and system. Exit status 0 if
every verdict holds, 1 if one does not or could not be reached.

    python scripts/gpu/prove.py --out DIR [--device cuda:0] [--until 430] [--stages NAME ...]
    python scripts/gpu/prove.py --device cpu --out DIR        # a rehearsal
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMITS_S = {
    "machine": 35,
    "allocator": 45,
    "search": 90,
    "truth": 80,
    "sustained": 25,
    "survival": 45,
    "neighbour": 35,
    "call": 45,
    "record": 120,
}
FIRST_CALL = tuple(name for name in LIMITS_S if name != "record")
# Below this a stage cannot even import PyTorch.
_SHORTEST_S = 5.0
_NUM_TAIL_CHARACTERS = 4000


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the proof.

    Attributes:
        name: Its name, and that of its files.
        command: What runs it.
        limit_s: How long it may take.
    """

    name: str
    command: Sequence[str]
    limit_s: float


def main() -> int:
    """Run the stages, write their files, print the verdicts."""
    arguments = parse_arguments()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    environ = make_environ(arguments.wheels, out)
    stages = [
        Stage(name=name, command=make_command(name, arguments.device, out), limit_s=LIMITS_S[name])
        for name in arguments.stages
    ]
    run_all(stages, out, until_s=arguments.until, environ=environ)
    verdicts = judge(read_stages(out, arguments.stages))
    write(out / "summary.json", {"device": arguments.device, "verdicts": verdicts})
    for name, verdict in verdicts.items():
        print(f"{'holds' if verdict['holds'] else 'FAILS':6} {name}: {verdict['why']}")
    return 0 if verdicts and all(each["holds"] for each in verdicts.values()) else 1


def parse_arguments() -> argparse.Namespace:
    """What was asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for all results")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--until", type=float, default=430.0, help="seconds for all stages")
    parser.add_argument("--stages", nargs="+", choices=list(LIMITS_S), default=list(FIRST_CALL))
    parser.add_argument("--wheels", type=Path, default=ROOT / "wheels")
    return parser.parse_args()


def make_command(name: str, device: str, out: Path) -> list[str]:
    """The command of a stage.

    Args:
        name: The stage.
        device: Where it runs.
        out: Folder for its files.
    """
    return [sys.executable, "-m", "scripts.gpu.stages", name, "--device", device, "--out", str(out)]


def make_environ(wheels: Path, out: Path) -> dict[str, str]:
    """The environment of the stages: the source tree, then wheels of what is not installed.

    Args:
        wheels: Folder of wheels; need not exist.
        out: Folder to unpack them into.
    """
    site = out / "site"
    for wheel in sorted(wheels.glob("*.whl")):
        if not is_installed(wheel.name.partition("-")[0]):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
    paths = [str(ROOT), str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def is_installed(name: str) -> bool:
    """Whether this Python has a distribution of that name."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def run_all(
    stages: Sequence[Stage], out: Path, *, until_s: float, environ: dict[str, str] | None = None
) -> None:
    """Run stages one after the other, each within its limit and all of them in time.

    Args:
        stages: To run.
        out: Folder for their files.
        until_s: Seconds for all.
        environ: Their environment; this process's if left out.
    """
    end = time.monotonic() + until_s
    for stage in stages:
        write(out / f"{stage.name}.json", {"stage": stage.name, "status": "not reached"})
    for stage in stages:
        left_s = end - time.monotonic()
        if left_s < _SHORTEST_S:
            break
        limit_s = min(stage.limit_s, left_s - 1.0)
        document = run_stage(stage, out, limit_s=limit_s, environ=environ)
        print(f"{stage.name:10} {document['status']:8} {document['time_s']:6.1f} s", flush=True)


def run_stage(
    stage: Stage, out: Path, *, limit_s: float, environ: dict[str, str] | None = None
) -> dict[str, Any]:
    """Run one stage; whatever becomes of it, its JSON says so.

    Args:
        stage: What to run.
        out: Folder for its files.
        limit_s: How long it may take.
        environ: Its environment; this process's if left out.
    """
    path, log = out / f"{stage.name}.json", out / f"{stage.name}.log"
    document: dict[str, Any] = {
        "stage": stage.name,
        "status": "running",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": list(stage.command),
        "limit_s": limit_s,
    }
    write(path, document)
    begin = time.monotonic()
    with log.open("wb") as output:  # no pipe: what a killed stage started may keep it open
        process = subprocess.Popen(
            stage.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environ,
            start_new_session=True,
        )
        try:
            exit_status: int | None = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            exit_status = None
        finally:
            kill_family(process)
    status = "killed" if exit_status is None else "done" if exit_status == 0 else "failed"
    document |= {
        "status": status,
        "exit_status": exit_status,
        "time_s": round(time.monotonic() - begin, 2),
        "figures": read(out / f"{stage.name}.figures.json"),
        "output": log.read_text(errors="replace")[-_NUM_TAIL_CHARACTERS:],
    }
    write(path, document)
    return document


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """Kill a stage and the processes of its session; workers of autobatch die with their parent."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def read_stages(out: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the stages left, by name.

    Args:
        out: Folder of their files.
        names: The stages.
    """
    return {name: read(out / f"{name}.json") for name in names}


def judge(stages: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Whether each claim holds, and why; one whose stage did not end well does not.

    Args:
        stages: JSON of the stages, by name.
    """
    verdicts = {}
    for name, document in stages.items():
        claims = (document.get("figures") or {}).get("claims", {})
        for claim, (holds, why) in claims.items():
            verdicts[f"{name}: {claim}"] = {"holds": bool(holds), "why": why}
        if document.get("status") != "done":
            why = f"{document.get('status')}: {(document.get('output') or '').strip()[-200:]}"
            verdicts[name] = {"holds": False, "why": why}
    return verdicts


def write(path: Path, document: dict[str, Any]) -> None:
    """Write JSON in one go: a reader sees the old file or the new one.

    Args:
        path: Where to.
        document: What.
    """
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=1, default=str) + "\n")
    part.replace(path)


def read(path: Path) -> dict[str, Any]:
    """Read JSON; empty if there is none."""
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document


if __name__ == "__main__":
    sys.exit(main())

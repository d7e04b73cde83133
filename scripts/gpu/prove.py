"""What a borrowed GPU must show, in a quarter of an hour: stage by stage, and nothing is lost.

    machine    25 s  times and memory of the context, raw NVML answers, clocks, copies
    allocator  45 s  plain training: peaks by step, the least cap that fits, allocator snapshots
    search    120 s  autobatch probe, for both goals
    truth      95 s  all powers of two in plain training, and the largest in a fresh process
    sustained  22 s  the chosen size for ten seconds without a break
    survival   40 s  out of memory, device asserts, size limits, weighted losses, states of __init__
    neighbour  45 s  a process beside it that holds half the memory, and one that grows
    call       30 s  find_batch_size in the middle of a training
    record    120 s  (named with --stages alone) timings of all sizes, for replays
    tests     150 s  (the same) pytest tests/gpu

Each stage is a process of its own with a limit, after which it is killed with all that it started;
what stages leave of their time, those after them may take. Its JSON is there from the beginning,
holds what was measured by then, and at the end how it ended; ``summary.json`` holds the verdicts.
The folder has all that is needed to replay the run elsewhere. It has dozens of files: ``--pack``
keeps all of them in one archive too, which is renewed after each stage.

It runs from a source tree, whether autobatch is installed or not. Packages that are missing are
taken from wheels in ``wheels/`` beside ``autobatch/``, for this Python and system. Exit status 0 if
every verdict holds, 1 if one does not or could not be reached.

    python scripts/gpu/prove.py --out DIR [--pack FILE.zip] [--device cuda:0] [--until 430]
    python scripts/gpu/prove.py --out DIR [--pack FILE.zip] --stages record tests
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
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LIMITS_S = {
    "machine": 25,
    "allocator": 45,
    "search": 120,
    "truth": 95,
    "sustained": 22,
    "survival": 40,
    "neighbour": 45,
    "call": 30,
    "record": 120,
    "tests": 150,
}
SECOND_CALL = ("record", "tests")
FIRST_CALL = tuple(name for name in LIMITS_S if name not in SECOND_CALL)
# Below this a stage cannot even import PyTorch.
_SHORTEST_S = 5.0
_NUM_TAIL_CHARACTERS = 4000
_NUM_PRINTED_CHARACTERS = 300


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
    begin = time.monotonic()
    arguments = parse_arguments()
    out = arguments.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    stages = [
        Stage(name=name, command=make_command(name, arguments.device, out), limit_s=LIMITS_S[name])
        for name in arguments.stages
    ]

    def keep() -> None:
        verdicts = judge(read_stages(out, arguments.stages))
        write(out / "summary.json", {"device": arguments.device, "verdicts": verdicts})
        if arguments.pack is not None:
            pack(out, arguments.pack)

    with tempfile.TemporaryDirectory() as site:
        environ = make_environ(arguments.wheels, Path(site))
        until_s = arguments.until - (time.monotonic() - begin)
        run_all(stages, out, until_s=until_s, environ=environ, on_end=keep)
    verdicts = read(out / "summary.json")["verdicts"]
    for name, verdict in verdicts.items():
        why = verdict["why"][:_NUM_PRINTED_CHARACTERS]
        print(f"{'holds' if verdict['holds'] else 'FAILS':6} {name}: {why}")
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
    parser.add_argument("--pack", type=Path, help="archive that has all files of the folder")
    return parser.parse_args()


def make_command(name: str, device: str, out: Path) -> list[str]:
    """The command of a stage.

    Args:
        name: The stage.
        device: Where it runs.
        out: Folder for its files.
    """
    return [sys.executable, "-m", "scripts.gpu.stages", name, "--device", device, "--out", str(out)]


def make_environ(wheels: Path, site: Path) -> dict[str, str]:
    """The environment of the stages: the source tree, then wheels of what is not installed.

    Args:
        wheels: Folder of wheels; need not exist.
        site: Folder to unpack them into.
    """
    for wheel in sorted(wheels.glob("*.whl")):
        if not is_installed(wheel.name.partition("-")[0]):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(site)
    paths = [str(ROOT), str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    # Unbuffered: a stage that is killed has its last lines in its log.
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def is_installed(name: str) -> bool:
    """Whether this Python has a distribution of that name."""
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def run_all(
    stages: Sequence[Stage],
    out: Path,
    *,
    until_s: float,
    environ: dict[str, str] | None = None,
    on_end: Callable[[], object] = lambda: None,
) -> None:
    """Run stages one after the other, all of them in time.

    A stage may take its limit, and what those before it have left.

    Args:
        stages: To run.
        out: Folder for their files.
        until_s: Seconds for all.
        environ: Their environment; this process's if left out.
        on_end: Called before the first stage and after each.
    """
    end = time.monotonic() + until_s
    for stage in stages:
        write(out / f"{stage.name}.json", {"stage": stage.name, "status": "not reached"})
    on_end()
    for index, stage in enumerate(stages):
        left_s = end - time.monotonic() - 1.0
        if left_s < _SHORTEST_S:
            break
        unclaimed_s = left_s - sum(later.limit_s + 1.0 for later in stages[index + 1 :])
        limit_s = min(left_s, max(stage.limit_s, unclaimed_s))
        document = run_stage(stage, out, limit_s=limit_s, environ=environ)
        print(f"{stage.name:10} {document['status']:8} {document['time_s']:6.1f} s", flush=True)
        on_end()


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


def pack(folder: Path, file: Path) -> None:
    """Put the files of a folder into an archive, in one go.

    Args:
        folder: Its folders are left out.
        file: The archive.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            if path.is_file() and path not in (file.resolve(), part.resolve()):
                archive.write(path, path.name)
    part.replace(file)


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

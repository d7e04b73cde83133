"""Is a training that dies late caught before it starts?

Eight trainings (late_trainings.py) fit while ordinary steps run, and die later: at the longest
sample, in an evaluation that keeps its logits, after a checkpoint that leaves a copy, of
accumulated gradients, of averaged weights made at step 50, of a metric that grows, of a batch of a
tall and a wide image, of loader workers that keep what they decode. Each has a limit in which a few
ordinary steps of batch size 64 just fit:

    at 64        the ordinary steps must end, and the training must die: the trap is one
    rehearsed    ``autobatch probe --rehearse`` in the same limit; its report must name the part,
                 and the training at its size must end

The limit is enforced by the kernel, ``RLIMIT_DATA``. That of loader workers is one of all processes
together, which are watched and killed beyond it. All run with one thread, which neighbours disturb
least, and large tensors are mapped one by one, so that no run depends on holes in the heap. Linux
only. Exit status 1 if one of these is not so. A minute or two for each training.

    python -m scripts.claims.late_deaths [kept_logits] [ema] ...
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from autobatch.devices.linux import die_with_parent, read_status_bytes
from autobatch.devices.meter import meter_process
from autobatch.units import format_bytes
from scripts.workbench import ROOT, make_parser, print_table, report

_TARGETS = str(Path(__file__).with_name("late_trainings.py"))
_TIME_LIMIT_S = 600
_LOOK_S = 0.002
_MIB = 2**20
_VARIABLES = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": str(_MIB)}
_SIZE = 64
_ORDINARY_STEPS = 6
# What a process may hold beyond what the one before it held.
_SLACK_MIB = 30
_REST = "the rest of an epoch"


@dataclass(frozen=True, kw_only=True)
class Trap:
    """How one training is run.

    Attributes:
        part: What the report must name.
        rest: How the report calls the part where time did not allow to run it.
        room_mib: Memory beyond what ordinary steps take.
        options: Of the search, for what no workload says.
        is_family: Whether its limit is one of all its processes together.
    """

    part: str
    rest: str = "no part that is left out"
    room_mib: int = _SLACK_MIB
    options: tuple[str, ...] = ()
    is_family: bool = False


TRAPS = {
    "longest_sample": Trap(part="the largest samples", room_mib=200),
    "kept_logits": Trap(part="evaluation of"),
    "copying_checkpoint": Trap(part="saving a checkpoint"),
    "accumulation": Trap(part="passes", options=("--gradient-accumulation-steps", "4")),
    "ema": Trap(part="shuffled steps", rest=_REST),
    "growing_metric": Trap(part="shuffled steps", rest=_REST),
    "multi_scale": Trap(part="the largest samples by padding", room_mib=200),
    "loader_workers": Trap(part="shuffled steps", rest=_REST, is_family=True),
}


def main() -> int:
    """Run all and print."""
    arguments = make_parser(__doc__, TRAPS).parse_args()
    rows, failures = [], []
    for name in arguments.examples:
        told = run_trap(name, TRAPS[name])
        rows.append((name, *told.row))
        failures += [f"{name}: {each}" for each in told.failures]
        report(*rows[-1])
    header = ("training", "limit", "at 64", "rehearsed", "at its size", "what named the part")
    print_table("trainings that are built to die late", header, rows)
    print(*(f"FAILED: {failure}" for failure in failures), sep="\n", end="\n" * bool(failures))
    print(f"{len(rows)} trainings, {len(failures)} failures")
    return 1 if failures else 0


@dataclass(frozen=True, kw_only=True)
class Told:
    """What came of one training.

    Attributes:
        row: Of the table.
        failures: What was not as it must be.
    """

    row: tuple[str, ...]
    failures: tuple[str, ...]


def run_trap(name: str, trap: Trap) -> Told:
    """Train at a size that fits for a few steps, and at the one that was rehearsed.

    Args:
        name: Of the training.
        trap: How it is run.
    """
    ordinary_bytes = train(name, trap, None, _SIZE, _ORDINARY_STEPS)["held_bytes"]
    limit_bytes = ordinary_bytes + trap.room_mib * _MIB
    ordinary = train(name, trap, limit_bytes, _SIZE, _ORDINARY_STEPS)
    dies = train(name, trap, limit_bytes, _SIZE)
    finding = rehearse(name, trap, limit_bytes)
    size = finding["batch_size"]
    lives, named = train(name, trap, limit_bytes, size), find_part(finding, trap)
    failures = {
        f"ordinary steps do not fit in {format_bytes(limit_bytes)}": not ordinary["ended"],
        f"it is no trap: it ends at {_SIZE}": dies["ended"],
        f"nothing names {trap.part!r}": not named,
        f"it dies at {size} too": not lives["ended"],
    }
    row = (format_bytes(limit_bytes), _describe(dies), str(size), _describe(lives), named)
    return Told(row=row, failures=tuple(words for words, is_so in failures.items() if is_so))


def find_part(finding: dict[str, Any], trap: Trap) -> str:
    """Where a report names the part that a training would die of; empty if it does not.

    Args:
        finding: With a rehearsal.
        trap: Has the words of the part.
    """
    rehearsal, part = finding["rehearsal"], trap.part
    for refused in rehearsal["refused"]:
        if part in refused:
            return f"rehearsal of {refused}"
    for warning in finding["warnings"]:
        words = " ".join(warning["details"])
        if warning["code"] == "final_run_too_large" and part in words:
            return f"final run of {warning['figures']['batch_size']:.0f}: {words}"
    for trial in finding["trials"]:
        if part in trial["message"]:
            return f"trial of {trial['batch_size']}: {trial['message']}"
    left_out = [each for each in rehearsal["not_rehearsed"] if trap.rest in each]
    if left_out:
        return f"not rehearsed: {left_out[0]}"
    ran = [stage["name"] for stage in rehearsal["stages"]]
    passes = max(trial["num_passes"] for trial in finding["trials"])
    ran += [f"{passes} passes of a step"] if passes > 1 else []
    return next((f"ran, and fits: {each}" for each in ran if part in each), "")


def rehearse(name: str, trap: Trap, limit_bytes: int) -> dict[str, Any]:
    """Search within a limit, and rehearse; the finding as a document."""
    command = [sys.executable, "-m", "autobatch", "probe", f"{_TARGETS}:{name}", "--rehearse"]
    command += ["--goal", "memory", "--max-batch-size", str(_SIZE), "--headroom", "3%"]
    command += ["--time-limit", "none", "-q", "-o", "result.json", *trap.options]
    if trap.is_family:
        command += ["--memory-limit", f"{limit_bytes}B"]
    finding = run(command, None if trap.is_family else limit_bytes)
    if "rehearsal" not in finding:
        raise SystemExit(f"no answer for {name}: {finding}")
    return finding


def train(
    name: str, trap: Trap, limit_bytes: int | None, batch_size: int, *num_steps: int
) -> dict[str, Any]:
    """Train within a limit; how far it came, and the most that it was seen to hold.

    Args:
        name: Of the training.
        trap: How it is run.
        limit_bytes: ``None`` for no limit.
        batch_size: Samples of a pass.
        num_steps: Ordinary steps, in the place of the whole training.
    """
    command = [sys.executable, "-m", "scripts.claims.late_trainings", name, str(batch_size)]
    command += map(str, num_steps)
    if trap.is_family:
        return {"steps": 0, "ended": False, **run(command, None, family_bytes=limit_bytes or 2**40)}
    return {"steps": 0, "ended": False, **run(command, limit_bytes)}


def run(
    command: Sequence[str], limit_bytes: int | None, *, family_bytes: int | None = None
) -> dict[str, Any]:
    """Run a program in a folder of its own.

    Args:
        command: The program.
        limit_bytes: Its ``RLIMIT_DATA``, if any.
        family_bytes: Resident memory of it and its descendants beyond which they are killed.

    Returns:
        What it wrote to ``result.json``; ``held_bytes``, the most private memory that it was seen
        to hold, or of the family's; and the end of its standard error.
    """
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "stderr"), "w+") as stderr:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **_VARIABLES, "PYTHONPATH": str(ROOT), "TMPDIR": folder},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=partial(_prepare, limit_bytes),
        )
        look = partial(_read_private, process.pid)
        if family_bytes is not None:
            look = meter_process(process.pid).look
        held_bytes = _watch(process, look, family_bytes or 2**60)
        stderr.seek(0)
        result = {"held_bytes": held_bytes, "stderr": stderr.read()[-500:]}
        path = Path(folder, "result.json")
        return {**result, **json.loads(path.read_text())} if path.exists() else result


def _watch(
    process: subprocess.Popen[bytes], look: Callable[[], int | None], most_bytes: int
) -> int:
    """Wait for the end of a process, or bring it about; the most that it was seen to hold."""
    deadline, highest_bytes = time.monotonic() + _TIME_LIMIT_S, 0
    try:
        while process.poll() is None:
            highest_bytes = max(highest_bytes, look() or 0)
            if highest_bytes > most_bytes or time.monotonic() > deadline:
                break
            time.sleep(_LOOK_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return highest_bytes


def _read_private(pid: int) -> int | None:
    try:
        return read_status_bytes(pid).get("VmData")
    except OSError:
        return None


def _prepare(limit_bytes: int | None) -> None:
    die_with_parent()
    if limit_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def _describe(row: dict[str, Any]) -> str:
    return f"ends, {row['steps']} steps" if row["ended"] else f"dies after {row['steps']} steps"


if __name__ == "__main__":
    sys.exit(main())

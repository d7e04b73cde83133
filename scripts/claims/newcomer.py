"""Do files as people have them get an answer, or an error that names the one line to change?

Writes twenty target files (``scripts/claims/newcomer_files.py``: tutorials, a GAN, detection, a
script under a main guard, a file that trains as it is loaded ...) into an empty folder, and runs
``autobatch probe`` on each. A file is met

    - with an answer, a size that ran and fits, whose report lists what it had to assume;
    - or, where no answer can be had, with an error whose hint names what to change. A hint that
      names a line to add, or a command to run, is taken by its word, and must give an answer;
    - never with a traceback that shows no line of the file, or with one promised and not shown.

A file that trains must not have saved anything either. A file that needs
a package which is missing here is left out, and said to be. Exit status 1 if any other is not met.
Searches end at eight samples and run on one thread: how fast a file trains does not matter here.

    python -m scripts.claims.newcomer [--time-limit 120] [FILE ...]
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.claims.newcomer_files import NEWCOMER_FILES, NewcomerFile
from scripts.workbench import ROOT, make_parser, print_table, report

_ADD = "add the line: "
_COMMAND = re.compile(r"autobatch probe (-- .*?), or call")
_FOLLOWS = "Hint: "
_MAX_BATCH_SIZE = 8
# Loading PyTorch and the file, over the time of the search.
_GRACE_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """How a file was met.

    Attributes:
        status: Exit status of ``autobatch probe``.
        stderr: What it said.
        batch_size: The answer; ``None`` without one.
        assumed: What the report lists under "Assumed".
        left: Files that appeared beside the target.
    """

    status: int
    stderr: str
    batch_size: int | None = None
    assumed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    @property
    def hint(self) -> str:
        """The hint of the error, on one line."""
        return " ".join(self.stderr.rpartition(_FOLLOWS)[2].split())


def main() -> int:
    """Run all files and print."""
    parser = make_parser(__doc__)
    parser.add_argument("files", nargs="*", metavar="FILE", default=list(NEWCOMER_FILES))
    parser.add_argument("--time-limit", type=int, default=120, help="seconds of each search")
    arguments = parser.parse_args()
    rows, num_failures, num_left_out = [], 0, 0
    for name in arguments.files:
        file, begin = NEWCOMER_FILES[name], time.monotonic()
        if file.needs and importlib.util.find_spec(file.needs) is None:
            rows.append((name, f"left out: needs {file.needs}", "", ""))
            num_left_out += 1
            continue
        met, fault = meet(name, file, arguments.time_limit)
        num_failures += bool(fault)
        took = f"{time.monotonic() - begin:.0f} s"
        answer = met.hint if met.batch_size is None else f"batch size {met.batch_size}"
        rows.append((name, f"NOT MET: {fault}" if fault else "met", answer, took))
        report(name, rows[-1][1], took)
    print_table("files as people have them", ("file", "verdict", "answer or hint", "took"), rows)
    num_met = len(rows) - num_failures - num_left_out
    print(f"{num_met} of {len(rows)} met, {num_failures} not, {num_left_out} left out")
    return 1 if num_failures else 0


def meet(name: str, file: NewcomerFile, time_limit_s: int) -> tuple[Met, str]:
    """Probe a file, and once more as the hint says.

    Args:
        name: Of the file.
        file: What to write and what to expect.
        time_limit_s: Seconds of a search.

    Returns:
        How it was met, and what is wrong with that; empty if nothing is.
    """
    met = probe(name, file.code, time_limit_s)
    fault = judge(name, file, met)
    command, line = _COMMAND.search(met.hint), met.hint.removeprefix(_ADD)
    if fault or (command is None and line == met.hint):
        return met, fault
    if command is None:
        again = probe(name, f"{file.code}\n{line}\n", time_limit_s)
    else:
        again = probe(name, file.code, time_limit_s, shlex.split(command[1]))
    if again.batch_size is None:
        return met, f"with what the hint names: {again.stderr.strip()[-200:]}"
    return met, ""


def probe(name: str, code: str, time_limit_s: int, command: Sequence[str] = ()) -> Met:
    """Run ``autobatch probe`` on a file in a folder of its own.

    Args:
        name: Of the file.
        code: The file.
        time_limit_s: Seconds of the search.
        command: What to run in the place of the file, from the two dashes on.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as aside:
        Path(folder, f"{name}.py").write_text(code)
        output = Path(aside, "finding.json")
        started = [
            sys.executable, "-m", "autobatch", "probe", "-q", "-o", str(output),
            "--max-batch-size", str(_MAX_BATCH_SIZE), "--time-limit", f"{time_limit_s}s",
            "--env", "OMP_NUM_THREADS=1", *(command or [f"{name}.py"]),
        ]  # fmt: skip
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            started,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=time_limit_s + _GRACE_S,
        )
        left = tuple(each.name for each in Path(folder).iterdir() if each.stem != name)
        found = json.loads(output.read_text()) if done.returncode == 0 else {}
    return Met(
        status=done.returncode,
        stderr=done.stderr,
        batch_size=found.get("batch_size"),
        assumed=tuple(found.get("workload", {}).get("guesses", ())),
        left=left,
    )


def judge(name: str, file: NewcomerFile, met: Met) -> str:
    """What is wrong with how a file was met; empty if nothing is.

    Args:
        name: Of the file.
        file: What was expected.
        met: What came.
    """
    shows_file = f'{name}.py", line ' in met.stderr
    if "Traceback" in met.stderr and not shows_file:
        return "a traceback without a line of the file"
    if "traceback above" in met.stderr and not shows_file:
        return "a traceback is promised and not shown"
    if met.left:
        return f"it left {', '.join(met.left)} behind"
    if not file.hint:
        if met.batch_size is None:
            return f"no answer: {' '.join(met.stderr.split())[-300:]}"
        missing = [each for each in file.assumes if not any(each in line for line in met.assumed)]
        return f"not said to be assumed: {missing[0]}" if missing else ""
    if met.status != 2 or "Error: " not in met.stderr:
        return f"status {met.status} and no error, where one was expected"
    return "" if file.hint in met.hint else f"the hint does not name: {file.hint}"


if __name__ == "__main__":
    sys.exit(main())

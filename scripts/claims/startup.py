"""What does the command take for itself, beside PyTorch and the trials?

``autobatch --help`` is to take less than 0.15 s of CPU time. Of ``autobatch probe`` the CPU time of
the command's own process counts, since PyTorch is imported and trials run in another one. What it
takes before the workload is loaded goes by while that other process imports PyTorch; what it takes
from then on is to be less than 0.5 s. Beside both: Python alone, and what importing PyTorch takes.
The median over some runs is printed, with the quartiles. Not on Windows.

    python -m scripts.claims.startup [--repeats 20] [--probes 3] [EXAMPLE ...]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from scripts.workbench import example_path, make_parser, print_table, quartiles

_HELP_GOAL_S = 0.15
_PROBE_GOAL_S = 0.5
_AFTER = "from then on"
# Writes the CPU time of its own process, without its children's, when the workload has been loaded
# and when it ends.
_NOTING = """
import atexit, sys, time
from autobatch.__main__ import main
from autobatch.probe.client import TargetProber
path, load, times = sys.argv.pop(1), TargetProber.load, []
def load_and_note(*arguments, **options):
    try:
        return load(*arguments, **options)
    finally:
        times.append(time.process_time())
def note():
    with open(path, "w") as file:
        print(times[0], time.process_time(), file=file)
TargetProber.load = load_and_note
atexit.register(note)
main()
"""


def main() -> int:
    """Measure all and print."""
    parser = make_parser(__doc__, ("regression_mlp", "digits_cnn"))
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--probes", type=int, default=3)
    arguments = parser.parse_args()
    times_s: dict[str, list[float]] = {}
    for _ in range(arguments.repeats):
        for name, code in (
            ("python", ["-c", "pass"]),
            ("autobatch --help", ["-m", "autobatch", "--help"]),
            ("import torch", ["-c", "import torch"]),
        ):
            times_s.setdefault(name, []).append(take(code))
    for _ in range(arguments.probes):
        for example in arguments.examples:
            loaded_s, ended_s = take_of_its_own(["probe", example_path(example)])
            times_s.setdefault(f"probe {example}, until loaded", []).append(loaded_s)
            times_s.setdefault(f"probe {example}, {_AFTER}", []).append(ended_s - loaded_s)
    goals_s = {"autobatch --help": _HELP_GOAL_S}
    goals_s |= {name: _PROBE_GOAL_S for name in times_s if name.endswith(_AFTER)}
    rows = [describe(name, each, goals_s.get(name)) for name, each in times_s.items()]
    print_table(
        "CPU time of one process, s", ("process", "median", "quartiles", "runs", "goal"), rows
    )
    are_met = [statistics.median(times_s[name]) < goal_s for name, goal_s in goals_s.items()]
    return 0 if all(are_met) else 1


def take(arguments: Sequence[str]) -> float:
    """CPU seconds of a Python process and its children."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} ended with exit status {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def take_of_its_own(arguments: Sequence[str]) -> tuple[float, float]:
    """CPU seconds of the command's own process, until the workload was loaded and in all."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "times.txt")
        command = [sys.executable, "-c", _NOTING, str(path), *arguments, "--json", "-q"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        loaded_s, ended_s = map(float, path.read_text().split())
        return loaded_s, ended_s


def describe(name: str, times_s: Sequence[float], goal_s: float | None) -> tuple[object, ...]:
    """A row of the table."""
    low, middle, high = quartiles(times_s)
    goal = "" if goal_s is None else f"< {goal_s} {'met' if middle < goal_s else 'NOT MET'}"
    return name, f"{middle:.3f}", f"{low:.3f} to {high:.3f}", len(times_s), goal


if __name__ == "__main__":
    sys.exit(main())

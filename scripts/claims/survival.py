"""Does the search live through a workload that wants far more memory than there is?

A full batch of this workload takes 20 GiB. In a cgroup of 1.5 GiB, as in a container, the
kernel kills whoever goes beyond. In it run: autobatch, which must end with exit status 0 and an
answer without a single kill; the loop that many finders are made of, which doubles the size until
an out-of-memory exception is raised; and, where it is installed,
``accelerate.utils.find_executable_batch_size``.

Where no cgroup can be made, or with ``--rlimit``, the same run under ``RLIMIT_DATA``: the
kernel kills nobody there, an allocation beyond the limit fails instead. That shows that autobatch
respects the limit, and that the limit binds: the plain loop must come to its exception, or die.

Linux only. Exit status 1 if autobatch did not end with an answer, or if the plain loop never met
the limit (in the group: if it was not killed).

    python -m scripts.claims.survival [--limit 1536MiB] [--rlimit]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from autobatch.units import format_bytes, parse_bytes
from scripts.memory_group import MemoryGroup, make_memory_group
from scripts.workbench import ROOT, print_table

_TIME_LIMIT_S = 300
_PLAIN_LOOP = "doubling until an exception"

# Each sample takes a row of 2**16 floats, four times over: 1 MiB.
_TARGET = """
import torch

WIDTH = 2**16
model = torch.nn.Sequential(
    torch.nn.Linear(8, WIDTH), torch.nn.ReLU(), torch.nn.Tanh(), torch.nn.Linear(WIDTH, 1)
)
dataset_size = 20 * 1024


def batch(batch_size):
    return torch.randn(batch_size, 8), torch.randn(batch_size, 1)


loss = torch.nn.MSELoss()


def optimizer(parameters):
    return torch.optim.SGD(parameters, lr=0.01)


def train(batch_size):
    inputs, targets = batch(batch_size)
    value = loss(model(inputs), targets)
    sgd.zero_grad()
    value.backward()
    sgd.step()


sgd = optimizer(model.parameters())
"""

_DOUBLING = """
import gc
import target

fitted, batch_size = 0, 1
while batch_size <= target.dataset_size:
    try:
        for _ in range(3):
            target.train(batch_size)
    except (MemoryError, RuntimeError) as error:
        gc.collect()
        print("raised", type(error).__name__, "after", fitted, flush=True)
        break
    fitted = batch_size
    print(fitted, flush=True)
    batch_size *= 2
"""

_ACCELERATE = """
from accelerate.utils import find_executable_batch_size
import target

@find_executable_batch_size(starting_batch_size=target.dataset_size)
def train(batch_size):
    for _ in range(3):
        target.train(batch_size)
    print(batch_size, flush=True)

train()
"""


def main() -> int:
    """Run all finders and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=parse_bytes, default="1536MiB")
    parser.add_argument("--rlimit", action="store_true", help="RLIMIT_DATA, not a cgroup")
    arguments = parser.parse_args()
    limit_bytes = arguments.limit
    make_group = nullcontext(None) if arguments.rlimit else make_memory_group(limit_bytes)
    with tempfile.TemporaryDirectory() as folder, make_group as group:
        Path(folder, "target.py").write_text(_TARGET)
        where = group.description if group else "RLIMIT_DATA"
        rows, failures = [], []
        for name, command, is_ours in list_finders():
            row, has_survived = run_finder(command, Path(folder), group, limit_bytes)
            rows.append((name, *row))
            if is_ours and not has_survived:
                failures.append(f"{name} did not end with an answer")
            if name == _PLAIN_LOOP and has_survived and (group or "raised" not in row[-1]):
                failures.append(f"{name} never met the limit")
    title = f"a workload of 20 GiB within {format_bytes(limit_bytes)} ({where})"
    print_table(title, ("finder", "exit status", "kills", "answer"), rows)
    if group is None:
        why = "--rlimit" if arguments.rlimit else "no cgroup can be made here"
        print(f"{why}: nothing is killed under RLIMIT_DATA, allocations fail")
    print(*(f"FAILED: {failure}" for failure in failures), sep="\n", end="\n" * bool(failures))
    if not failures:
        print("autobatch survived, with an answer")
    return 1 if failures else 0


def list_finders() -> list[tuple[str, list[str], bool]]:
    """Name, command, and whether it is ours."""
    autobatch = [sys.executable, "-m", "autobatch", "probe", "target.py", "--json"]
    finders = [
        ("autobatch --goal memory", [*autobatch, "--goal", "memory"], True),
        ("autobatch", autobatch, True),
        (_PLAIN_LOOP, [sys.executable, "-c", _DOUBLING], False),
    ]
    if importlib.util.find_spec("accelerate"):
        name = "accelerate's find_executable_batch_size"
        finders.append((name, [sys.executable, "-c", _ACCELERATE], False))
    return finders


def run_finder(
    command: list[str], folder: Path, group: MemoryGroup | None, limit_bytes: int
) -> tuple[tuple[str, int, str], bool]:
    """Exit status, kills and answer of one finder, and whether it lived to give one."""
    before = group.count_kills() if group else 0
    process = subprocess.Popen(
        group.wrap(command) if group else command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=None if group else partial(limit_data, limit_bytes),
    )
    try:
        stdout, stderr = process.communicate(timeout=_TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
    num_kills = (group.count_kills() if group else 0) - before
    print(stderr, file=sys.stderr, flush=True)
    status = describe_exit(process.returncode)
    has_survived = process.returncode == 0 and num_kills == 0 and bool(stdout.strip())
    return (status, num_kills, describe_answer(stdout, is_complete=has_survived)), has_survived


def describe_exit(exit_code: int) -> str:
    """An exit status as a shell shows it."""
    if exit_code >= 0:
        return str(exit_code)
    return f"{128 - exit_code} ({signal.Signals(-exit_code).name})"


def describe_answer(stdout: str, *, is_complete: bool) -> str:
    """What a finder found, or how far it had come."""
    parse: Callable[[str], str] = describe_finding if stdout.startswith("{") else last_line
    if not stdout.strip():
        return "none"
    answer = parse(stdout)
    return answer if is_complete else f"none; had run {answer}"


def describe_finding(text: str) -> str:
    """The answer in autobatch's JSON, with its peak."""
    finding = json.loads(text)
    peak, budget = format_bytes(finding["peak_bytes"]), format_bytes(finding["budget_bytes"])
    return f"{finding['batch_size']} (peak {peak}, budget {budget})"


def last_line(text: str) -> str:
    """The last size that a loop printed, and what it met."""
    return text.splitlines()[-1]


def limit_data(limit_bytes: int) -> None:
    """Limit the private memory of the process that is about to start."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


if __name__ == "__main__":
    sys.exit(main())

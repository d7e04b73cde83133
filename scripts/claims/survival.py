"""Does the search live through a workload that wants far more memory than there is?

A full batch of this workload takes 20 GiB. In a cgroup of 1.5 GiB, as in a container, the
kernel kills whoever goes beyond. In it run: autobatch, which must end with exit status 0 and an
answer without a single kill, and the loop that many finders are made of, which doubles the size
until an out-of-memory exception is raised. (The finders of other libraries in such a group:
``scripts.peers.run``.)

Where no cgroup can be made, or with ``--rlimit``, the same run under ``RLIMIT_DATA``: the
kernel kills nobody there, an allocation beyond the limit fails instead. That shows that autobatch
respects the limit, and that the limit binds: the plain loop must come to its exception, or die.

Linux only. Exit status 1 if autobatch did not end with an answer, or if the plain loop never met
the limit (in the group: if it was not killed).

    python -m scripts.claims.survival [--limit 1536MiB] [--rlimit]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from autobatch.units import format_bytes, parse_bytes
from scripts.memory_group import MemoryGroup, make_memory_group
from scripts.peers.processes import run_limited
from scripts.workbench import WIDE_TARGET, make_parser, print_table

_TIME_LIMIT_S = 300
_PLAIN_LOOP = "doubling until an exception"

_DATASET_SIZE = 20 * 1024
_DOUBLING = f"""
import gc, json
from torch.nn.functional import mse_loss
from scripts.wide_target import batch, model, optimizer

sgd = optimizer(model.parameters())
fitted, batch_size, message = 0, 1, ""
while batch_size <= {_DATASET_SIZE} and not message:
    try:
        for _ in range(3):
            inputs, targets = batch(batch_size)
            value = mse_loss(model(inputs), targets)
            sgd.zero_grad()
            value.backward()
            sgd.step()
        fitted, batch_size = batch_size, 2 * batch_size
    except (MemoryError, RuntimeError) as error:
        gc.collect()
        message = type(error).__name__
    with open("result.json", "w") as file:
        json.dump(dict(batch_size=fitted, message=message), file)
"""
_PROBE = (
    sys.executable, "-m", "autobatch", "probe", WIDE_TARGET, "-q", "-o", "result.json",
    "--dataset-size", str(_DATASET_SIZE),
)  # fmt: skip
_FINDERS = {
    "autobatch --goal memory": (*_PROBE, "--goal", "memory"),
    "autobatch": _PROBE,
    _PLAIN_LOOP: (sys.executable, "-c", _DOUBLING),
}


def main() -> int:
    """Run all finders and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--limit", type=parse_bytes, default="1536MiB")
    parser.add_argument("--rlimit", action="store_true", help="RLIMIT_DATA, not a cgroup")
    arguments = parser.parse_args()
    limit_bytes = arguments.limit
    rows, failures = [], []
    with nullcontext() if arguments.rlimit else make_memory_group(limit_bytes) as group:
        for name, command in _FINDERS.items():
            row = run(command, limit_bytes, group)
            rows.append((name, row["outcome"], row["kills"], describe_answer(row)))
            has_survived = row["outcome"] == "answered" and "batch_size" in row and not row["kills"]
            if name != _PLAIN_LOOP and not has_survived:
                failures.append(f"{name} did not end with an answer")
            if name == _PLAIN_LOOP and has_survived and (group or not row["message"]):
                failures.append(f"{name} never met the limit")
    where = group.description if group else "RLIMIT_DATA: allocations fail, nothing is killed"
    title = f"a workload of 20 GiB within {format_bytes(limit_bytes)} ({where})"
    print_table(title, ("finder", "ended", "kills", "answer"), rows)
    print(*(f"FAILED: {failure}" for failure in failures), sep="\n", end="\n" * bool(failures))
    if not failures:
        print("autobatch survived, with an answer")
    return 1 if failures else 0


def run(command: Sequence[str], limit_bytes: int, group: MemoryGroup | None) -> dict[str, Any]:
    """How one finder ended."""
    with tempfile.TemporaryDirectory() as folder:
        row = run_limited([*command], Path(folder), limit_bytes, _TIME_LIMIT_S, group)
    print(row.get("stderr_tail", ""), file=sys.stderr, flush=True)
    return row


def describe_answer(row: dict[str, Any]) -> str:
    """What a finder found, or how far it had come."""
    answer = str(row.get("batch_size", "none"))
    if "budget_bytes" in row:
        peak, budget = format_bytes(row["peak_bytes"]), format_bytes(row["budget_bytes"])
        return f"{answer} (peak {peak}, budget {budget})"
    if row["outcome"] != "answered":
        return f"none; had run {answer}"
    return f"{answer}, then {row['message'] or 'nothing'}"


if __name__ == "__main__":
    sys.exit(main())

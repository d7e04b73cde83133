"""Does the recommended size stay in the budget, and is the peak what training really takes?

For each example and each of three memory limits, ``--goal memory`` runs; then a plain PyTorch
loop, without any of autobatch's measuring code, trains the example at the recommended size for as
many steps in a fresh process, and the kernel's account of that process (``getrusage``, what
``/usr/bin/time`` prints) is held against the peak that autobatch reported. The allocator makes
one loop's peak differ from the next one's, by 10 % at some sizes: the highest of three counts,
and the lowest is printed beside it. Linux only. Exit status 1 if a peak exceeds its budget or
the two peaks differ by more than 5 %.

    python -m scripts.claims.budget [EXAMPLE ...]
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autobatch.units import format_bytes
from scripts.workbench import MEMORY_LIMITS, example_path, make_parser, print_table, report

_TOLERANCE_FRACTION = 0.05
_NUM_LOOPS = 3


def main() -> int:
    """Compare all and print."""
    if sys.argv[1:2] == ["--train"]:
        train(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return 0
    arguments = make_parser(__doc__, MEMORY_LIMITS).parse_args()
    rows = []
    for name in arguments.examples:
        for limit in MEMORY_LIMITS[name]:
            rows.append((name, limit, *compare(example_path(name), limit)))
            report(*rows[-1])
    header = ("example", "limit", "size", "budget", "peak", "lowest", "highest", "ratio", "")
    print_table("peak of the recommended size, and of a plain training loop at it", header, rows)
    num_bad = sum(row[-1] != "ok" for row in rows)
    print(f"{len(rows)} budgets, {num_bad} not kept or more than 5 % off")
    return 1 if num_bad else 0


def compare(target: str, limit: str) -> tuple[str, ...]:
    """Size, budget, both peaks, their ratio and a verdict."""
    command = [sys.executable, "-m", "autobatch", "probe", target, "--json", "-q"]
    command += ["--goal", "memory", "--memory-limit", limit]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode == 1:
        return ("nothing fits", *[""] * 5, "ok")
    if done.returncode != 0:
        return (f"exit status {done.returncode}", *[""] * 5, "FAILED")
    finding = json.loads(done.stdout)
    peak_bytes, budget_bytes = finding["peak_bytes"], finding["budget_bytes"]
    size, num_steps = finding["batch_size"], count_steps(finding)
    loops = sorted(measure_plain_loop(target, size, num_steps) for _ in range(_NUM_LOOPS))
    ratio = loops[-1] / peak_bytes
    verdict = "ok"
    if abs(ratio - 1) > _TOLERANCE_FRACTION:
        verdict = "DIFFERENT"
    if peak_bytes > budget_bytes:
        verdict = "OVER BUDGET"
    peaks = (format_bytes(each) for each in (budget_bytes, peak_bytes, loops[0], loops[-1]))
    return (str(size), *peaks, f"{ratio:.3f}", verdict)


def count_steps(finding: dict[str, Any]) -> int:
    """The most steps that a process of autobatch ran at the recommended size."""
    size = finding["batch_size"]
    trial = next(trial for trial in finding["trials"] if trial["batch_size"] == size)
    longest = max(len(timed["step_times_s"]) for timed in trial["rounds"])
    num_confirmed = (finding.get("confirmation") or {}).get("num_steps", 0)
    return int(max(trial["num_warmup_steps"] + longest, num_confirmed))


def measure_plain_loop(target: str, batch_size: int, num_steps: int) -> int:
    """Peak resident memory of a fresh process that trains, as the kernel accounts for it."""
    command = [sys.executable, "-m", "scripts.claims.budget", "--train"]
    command += [target, str(batch_size), str(num_steps)]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"the plain loop ended with exit status {process.returncode}: {command}")
    peak_bytes = int(usage.ru_maxrss) * 1024
    # A process begins with the peak of the one that started it.
    own_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert own_bytes < peak_bytes, "this process is too large to measure another"
    return peak_bytes


def train(target: str, batch_size: int, num_steps: int) -> None:
    """Train an example, in the order of operations of ``autobatch/probe/step.py``."""
    namespace = load(target)
    import torch

    torch.manual_seed(0)
    model, loss = namespace["model"], namespace["loss"]
    if not isinstance(model, torch.nn.Module):
        model = model()
    optimizer = make_optimizer(namespace, model)
    model.train()
    for inputs, targets in itertools.islice(make_batches(namespace, batch_size), num_steps):
        value = loss(model(inputs), targets)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        optimizer.step()


def load(target: str) -> dict[str, Any]:
    """Run an example's file; the names that it trains with."""
    sys.path.insert(0, str(Path(target).parent))
    module = importlib.import_module(Path(target).stem)
    return vars(module.workload() if hasattr(module, "workload") else module)


def make_optimizer(namespace: dict[str, Any], model: Any) -> Any:
    """The example's own optimizer, made by a class or a function."""
    make = namespace["optimizer"]
    return make(model.parameters(), **({"lr": namespace["lr"]} if isinstance(make, type) else {}))


def make_batches(namespace: dict[str, Any], batch_size: int) -> Iterator[Any]:
    """Endlessly many batches from the example's loader, dataset or function."""
    from torch.utils.data import DataLoader

    if namespace.get("batch") is not None:
        while True:
            yield namespace["batch"](batch_size)
    loader = namespace.get("train_loader")
    dataset = loader.dataset if loader is not None else namespace["dataset"]
    while True:
        yield from DataLoader(dataset, batch_size, shuffle=True, drop_last=True)


if __name__ == "__main__":
    sys.exit(main())

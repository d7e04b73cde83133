"""Is the told peak that of a training that accumulates gradients?

Three workloads of which gradients are a large part (accumulating_workloads.py), each with 1, 2 and
4 passes per optimizer step: ``autobatch probe --global-batch-size`` tells a peak, and a plain
PyTorch loop, in a process of its own, trains as many samples per pass and as many passes per step.
Its peak is the kernel's account of that process. The allocator makes one loop's peak differ from
the next one's: the highest of three counts. Linux only. Exit status 1 if a told peak is less than
0.97 or more than 1.05 of the loop's.

    python -m scripts.claims.accumulating [tokens] [layers] [images]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from autobatch.units import format_bytes
from scripts.workbench import make_parser, print_table, report

_TARGET = str(Path(__file__).with_name("accumulating_workloads.py"))
_SIZES = {"tokens": 4, "layers": 32, "images": 64}
_NUM_PASSES = (1, 2, 4)
_LEAST, _MOST = 0.97, 1.05
_NUM_LOOPS = 3


def main() -> int:
    """Compare all and print."""
    arguments = make_parser(__doc__, _SIZES).parse_args()
    rows = []
    for name in arguments.examples:
        for num_passes in _NUM_PASSES:
            rows.append((name, str(num_passes), *compare(name, _SIZES[name], num_passes)))
            report(*rows[-1])
    header = ("workload", "passes", "size", "told", "lowest", "highest", "told/highest", "")
    print_table("told peak, and that of a plain loop that accumulates", header, rows)
    num_bad = sum(row[-1] != "ok" for row in rows)
    print(f"{len(rows)} peaks, {num_bad} outside {_LEAST} to {_MOST}")
    return 1 if num_bad else 0


def compare(name: str, batch_size: int, num_passes: int) -> tuple[str, ...]:
    """Size, the peaks, their ratio and a verdict."""
    command = [sys.executable, "-m", "autobatch", "probe", f"{_TARGET}:{name}", "--json", "-q"]
    command += ["--goal", "memory", "--time-limit", "none"]
    command += ["--min-batch-size", str(batch_size), "--max-batch-size", str(batch_size)]
    command += ["--global-batch-size", str(batch_size * num_passes)]
    finding = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    assert finding["gradient_accumulation_steps"] == num_passes
    told_bytes = finding["peak_bytes"]
    loops = sorted(measure_plain_loop(name, batch_size, num_passes) for _ in range(_NUM_LOOPS))
    ratio = told_bytes / loops[-1]
    verdict = "ok" if _LEAST <= ratio <= _MOST else "DIFFERENT"
    peaks = map(format_bytes, (told_bytes, loops[0], loops[-1]))
    return (str(batch_size), *peaks, f"{ratio:.3f}", verdict)


def measure_plain_loop(name: str, batch_size: int, num_passes: int) -> int:
    """Peak resident memory of a fresh process that trains, as the kernel accounts for it."""
    command = [sys.executable, "-m", "scripts.claims.accumulating_workloads"]
    command += [name, str(batch_size), str(num_passes)]
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"the plain loop ended with exit status {process.returncode}: {command}")
    return int(usage.ru_maxrss) * 1024


if __name__ == "__main__":
    sys.exit(main())

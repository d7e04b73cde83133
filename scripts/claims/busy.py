"""Whether answers hold on a busy machine: searches while two processes spin on every core.

    python -m scripts.claims.busy [--runs 10] [--seconds 30] [EXAMPLE ...]

First, on the idle machine, the throughput of every size is recorded and one search made. Then, with
a process that spins for each core, searches are repeated. Each answer is held against the idle
throughputs: it must be within a tenth of the best, or marked as of low confidence; and no search
may take longer than three times the idle one, or than the usual limit.

Exit status: 0 if all that holds and at least eight in ten answers are sure, 1 if not.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from autobatch.devices.cpu import count_usable_cores
from autobatch.records import Confidence, Settings
from scripts.replay.record import record, summarize
from scripts.workbench import example_path, make_parser, print_table, search

_EXAMPLES = ("digits_cnn", "regression_mlp", "linear", "image_cnn", "char_gpt")
_LINEAR = """
import torch
model = torch.nn.Linear(512, 512)
dataset = torch.utils.data.TensorDataset(torch.randn(20_000, 512), torch.randn(20_000, 512))
loss = torch.nn.functional.mse_loss
"""
_NEAR = 0.9
_SURE_FRACTION = 0.8
_TIME_RATIO = 3.0
_LIMIT_S = 120.0
# Loading, and what ends a search whose limit is over.
_SLACK_S = 15.0


class Answer(NamedTuple):
    """What one search on the busy machine came to."""

    batch_size: int
    is_sure: bool
    seconds: float
    rate: float


def main() -> int:
    """Search each example on the idle and the busy machine; print and judge."""
    parser = make_parser(__doc__, _EXAMPLES)
    parser.add_argument("--runs", type=int, default=10, help="searches of each on the busy machine")
    parser.add_argument("--seconds", type=float, default=30.0, help="to record the idle machine")
    arguments = parser.parse_args()
    rows, does_hold = [], True
    with TemporaryDirectory() as folder:
        linear = Path(folder) / "linear.py"
        linear.write_text(_LINEAR)
        for name in arguments.examples:
            target = str(linear) if name == "linear" else example_path(name)
            rates = summarize(record(target, arguments.seconds)["cells"])
            idle = search(target, Settings(device="cpu"))
            with busy_cores():
                answers = [ask(target, rates) for _ in range(arguments.runs)]
            row, holds = judge(name, rates, answers, idle.search_time_s)
            print(*row, sep="  ", file=sys.stderr, flush=True)
            rows.append((*row, "yes" if holds else "NO"))
            does_hold = does_hold and holds
    header = ("example", "idle search", "answers", "sure", "sure, lowest rate / best",
              "longest search", "holds")  # fmt: skip
    print_table("searches beside processes that spin on every core", header, rows)
    return 0 if does_hold else 1


@contextmanager
def busy_cores() -> Iterator[None]:
    """Have a process spin for each core."""
    spin = [sys.executable, "-c", "while True: pass"]
    processes = [subprocess.Popen(spin) for _ in range(count_usable_cores())]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def ask(target: str, rates: dict[int, float]) -> Answer:
    """Search once, and hold the answer against the throughputs of the idle machine."""
    finding = search(target, Settings(device="cpu"))
    size = finding.batch_size
    nearest = min(rates, key=lambda each: abs(each - size))
    return Answer(
        batch_size=size,
        is_sure=finding.confidence is Confidence.HIGH,
        seconds=finding.search_time_s,
        rate=rates[nearest] / max(rates.values()),
    )


def judge(
    name: str, rates: dict[int, float], answers: list[Answer], idle_s: float
) -> tuple[tuple[str, ...], bool]:
    """The figures of an example, and whether it holds."""
    sure = [answer for answer in answers if answer.is_sure]
    lowest = min((answer.rate for answer in sure), default=1.0)
    longest_s = max(answer.seconds for answer in answers)
    sizes = Counter(answer.batch_size for answer in answers)
    listed = ", ".join(f"{size} x{sizes[size]}" for size in sorted(sizes))
    holds = lowest >= _NEAR and len(sure) >= _SURE_FRACTION * len(answers)
    holds = holds and longest_s <= max(_TIME_RATIO * idle_s, _LIMIT_S) + _SLACK_S
    row = (name, f"{idle_s:.0f} s", listed, f"{len(sure)} of {len(answers)}", f"{lowest:.2f}",
           f"{longest_s:.0f} s")  # fmt: skip
    return row, holds


if __name__ == "__main__":
    sys.exit(main())

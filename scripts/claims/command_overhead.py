"""What does being watched cost a training loop? The same script with and without the hook, in turn.

The script trains a network of 101 modules on a DataLoader, with steps of about 5 ms on one thread,
and takes the CPU time of each: what other processes do to the clock on the wall is not the hook's.
What is compared is the step that one in ten is shorter than, in each run, since neighbours on the
same core slow most of them; one run of each makes a pair.

    python -m scripts.claims.command_overhead [--pairs 10] [--steps 400]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from autobatch.command.launch import Protection
from autobatch.command.run import Order, Run
from autobatch.command.settings import FileProtection
from scripts.workbench import make_parser

SCRIPT = """
import statistics, sys, time, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
torch.set_num_threads(1)
width = 96
layers = [part for _ in range(50) for part in (nn.Linear(width, width), nn.Tanh())]
model = nn.Sequential(*layers, nn.Linear(width, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
data = TensorDataset(torch.randn(64 * 64, width), torch.randint(0, 4, (64 * 64,)))
times = []
while len(times) < int(sys.argv[1]):
    loader, begin = DataLoader(data, batch_size=64), time.thread_time()
    for inputs, labels in loader:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
        end = time.thread_time()
        times.append(end - begin)
        begin = end
open(sys.argv[2], "w").write(str(statistics.quantiles(times[20:], n=10)[0]))
"""


def main() -> int:
    """Run all and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--pairs", type=int, default=10, help="runs with and without")
    parser.add_argument("--steps", type=int, default=400, help="steps of a run")
    arguments = parser.parse_args()
    ratios, plain_s = [], []
    with tempfile.TemporaryDirectory() as folder:
        script, result = Path(folder, "train.py"), Path(folder, "result")
        script.write_text(SCRIPT)
        command = (sys.executable, str(script), str(arguments.steps), str(result))
        for number in range(arguments.pairs):
            first = time_run(command, result, is_watched=number % 2 == 0)
            second = time_run(command, result, is_watched=number % 2 == 1)
            watched, plain = (first, second) if number % 2 == 0 else (second, first)
            ratios.append(watched / plain)
            plain_s.append(plain)
            print(
                f"pair {number}: {plain * 1e3:.3f} ms, watched {watched * 1e3:.3f} ms", flush=True
            )
    median = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else (median,) * 3
    cost_us = (median - 1) * statistics.median(plain_s) * 1e6
    print(
        f"a step of {statistics.median(plain_s) * 1e3:.2f} ms takes {median - 1:+.1%} "
        f"({low - 1:+.1%} to {high - 1:+.1%}, half of the pairs): {cost_us:.0f} us"
    )
    return 0


def time_run(command: tuple[str, ...], result: Path, *, is_watched: bool) -> float:
    """Run the script once.

    Args:
        command: What to run.
        result: Where it writes the time of a step, in seconds.
        is_watched: Whether with the hook.
    """
    if is_watched:
        order = Order(
            arguments=command,
            variables={},
            protection=Protection(kind=FileProtection.NONE, root=os.getcwd()),
            rewritten={},
            budget_bytes=2**40,
        )
        with Run(order) as run:
            while run.ending is None:
                run.listen()
    else:
        subprocess.run(command, check=True)
    return float(result.read_text())


if __name__ == "__main__":
    sys.exit(main())

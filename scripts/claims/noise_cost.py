"""What ``autobatch.GradientNoiseScale`` costs a training step: less than 2 %?

For each example a loop accumulates gradients over two passes and steps its optimizer, as it is
trained. The time inside ``after_backward``, ``before_step`` and ``read`` is measured within the
very steps that it belongs to and divided by the rest of the step, so that what disturbs the
machine disturbs both. The median over the steps is printed, with its quartiles.

    python -m scripts.claims.noise_cost [--steps 60] [--batch-size 32] [EXAMPLE ...]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import autobatch
from autobatch.probe.trial.start import seed_everything
from autobatch.records import Settings
from autobatch.workload.task import TrainingTask, load_task
from scripts.workbench import example_path, make_parser, print_table, quartiles

_NUM_PASSES = 2
_GOAL_FRACTION = 0.02


def main() -> int:
    """Measure all and print."""
    parser = make_parser(__doc__, ("digits_cnn", "char_gpt"))
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    rows, is_cheap = [], True
    for name in arguments.examples:
        task = load_task(example_path(name), Settings())
        shares, step_times_s = measure(task, arguments.batch_size, arguments.steps)
        low, middle, high = quartiles(shares)
        is_cheap = is_cheap and middle < _GOAL_FRACTION
        step_time_ms = 1e3 * statistics.median(step_times_s)
        cost = f"{100 * middle:.2f} % ({100 * low:.2f} to {100 * high:.2f} %)"
        rows.append((name, arguments.batch_size, f"{step_time_ms:.1f} ms", cost))
    print_table("cost of the noise scale", ("example", "batch", "step", "cost"), rows)
    return 0 if is_cheap else 1


def measure(task: TrainingTask, batch_size: int, num_steps: int) -> tuple[list[float], list[float]]:
    """Share of each step that the estimate takes, and the time of the steps without it."""
    seed_everything(0)
    noise = autobatch.GradientNoiseScale(task.model.parameters(), batch_size=batch_size)
    batches = task.source.batches(batch_size)
    shares, step_times_s = [], []
    for index in range(num_steps + 5):
        inside_s = 0.0
        begin = time.perf_counter()
        for _ in range(_NUM_PASSES):
            (task.loss(task.model, next(batches)) / _NUM_PASSES).backward()
            inside_s += take(noise.after_backward)
        inside_s += take(noise.before_step)
        task.built.optimizer.step()
        task.built.optimizer.zero_grad()
        rest_s = time.perf_counter() - begin - inside_s
        if index >= 5:  # the first steps are slow in other ways
            shares.append(inside_s / rest_s)
            step_times_s.append(rest_s)
    read_s = take(noise.read) / num_steps
    return [share + read_s / statistics.median(step_times_s) for share in shares], step_times_s


def take(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())

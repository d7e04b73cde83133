"""Is the estimated noise scale right, and does its interval hold the truth as often as it says?

Linear regression with normal features of covariance ``C``, at a distance ``d`` from the solution
and with targets whose noise has the deviation ``s``: the gradient of ``(x w - y)^2 / 2`` has the
mean ``C d`` and a covariance of trace ``tr(C) (d C d + s^2) + |C d|^2``. For several distances
and budgets the estimate is made from seeded micro-batches 200 times; printed are the median
error, the share of runs within 10 %, and the share whose 90 % interval holds the truth.

    python -m scripts.claims.noise_estimate [--runs 200]
"""

from __future__ import annotations

import statistics
import sys

import numpy as np

from autobatch.noise.estimate import GradientSums, estimate_noise_scale
from scripts.workbench import make_parser, print_table

_DIMENSIONS = 20
_MICRO_BATCH_SIZE = 16
_NUM_BLOCKS = 32
_NOISE = 0.5


def main() -> int:
    """Estimate all and print."""
    parser = make_parser(__doc__)
    parser.add_argument("--runs", type=int, default=200)
    arguments = parser.parse_args()
    rows, is_right = [], True
    for distance in (3.0, 1.0, 0.3):
        for budget in (1024, 8192, 32_768):
            truth, found = run(distance, budget, arguments.runs)
            errors = [abs((each or np.inf) / truth - 1) for each, _, _ in found]
            held = statistics.mean(
                low <= truth <= (np.inf if high is None else high) for _, low, high in found
            )
            within = statistics.mean(error <= 0.1 for error in errors)
            is_right = is_right and 0.84 <= held <= 0.98
            median = f"{100 * statistics.median(errors):.1f} %"
            rows.append((distance, f"{truth:.0f}", budget, median, f"{within:.2f}", f"{held:.3f}"))
    header = ("distance", "noise scale", "samples", "median error", "within 10 %", "interval holds")
    print_table(f"{arguments.runs} runs each", header, rows)
    return 0 if is_right else 1


def run(
    distance: float, budget: int, num_runs: int
) -> tuple[float, list[tuple[float | None, float, float | None]]]:
    """The true noise scale; estimate, low and high end of every run."""
    generator = np.random.default_rng(0)
    scales = np.exp(generator.normal(0, 0.7, _DIMENSIONS))
    d = distance * generator.normal(size=_DIMENSIONS) / _DIMENSIONS**0.5
    mean = scales**2 * d
    truth = ((scales**2).sum() * (d @ mean + _NOISE**2) + mean @ mean) / (mean @ mean)
    found = []
    for seed in range(num_runs):
        generator = np.random.default_rng([1, seed])
        shape = (budget // _MICRO_BATCH_SIZE, _MICRO_BATCH_SIZE)
        x = scales * generator.normal(size=(*shape, _DIMENSIONS))
        e = _NOISE * generator.normal(size=shape)
        gradients = np.einsum("nbi,nb->ni", x, x @ d - e) / _MICRO_BATCH_SIZE
        blocks = [gradients[index::_NUM_BLOCKS] for index in range(_NUM_BLOCKS)]
        totals = np.array([block.sum(axis=0) for block in blocks])
        noise = estimate_noise_scale(
            GradientSums(
                dot_products=totals @ totals.T,
                squared_norms=np.array([(block**2).sum() for block in blocks]),
                counts=np.array([len(block) for block in blocks]),
                micro_batch_size=_MICRO_BATCH_SIZE,
            )
        )
        found.append((noise.noise_scale, noise.low, noise.high))
    return float(truth), found


if __name__ == "__main__":
    sys.exit(main())

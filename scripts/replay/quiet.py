"""Searches on a simulated quiet device: six curves, 1 % step noise, 0.3 % drift.

    python -m scripts.replay.quiet [--seeds 20]

Each trial costs a quarter of a second beside its steps, as garbage collection and giving back
memory do on a GPU. A search is held against a bare survey: one run of each size that it ran, and
one final run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from autobatch.finder import find
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Settings, Trial
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload
from scripts.workbench import print_table

_CAPACITY_BYTES = round(139.8 * 2**30)
_FIXED_BYTES = 2 * 2**30
_TRIAL_COST_S = 0.25


class Curve(NamedTuple):
    """A step time in seconds by batch size, and the largest size that fits."""

    step_time_s: Callable[[int], float]
    largest: int


CURVES = {
    "ResNet-50-like, floor 10 ms": Curve(lambda b: max(10e-3, b / 2900), 1024),
    "ResNet-50-like, floor 28 ms": Curve(lambda b: max(28e-3, b / 2900), 1024),
    "GPT-2-like, 3 ms a sample": Curve(lambda b: max(30e-3, 3e-3 * b), 64),
    "floor 10 ms, 10,000/s": Curve(lambda b: max(10e-3, b / 10_000), 4096),
    "small MLP, 1,000,000/s": Curve(lambda b: max(3e-3, b / 1e6), 2**19),
    "late knee, 5,000/s": Curve(lambda b: 7.4e-3 + b / 5000, 8192),
}


class QuietProber(SimulatedProber):
    """A device as quiet as a GPU.

    Args:
        curve: What a step takes.
        seed: Of the noise.

    Attributes:
        times_s: What each trial took, with its plan.
    """

    def __init__(self, curve: Curve, seed: int) -> None:
        room_bytes = 0.9 * _CAPACITY_BYTES - _FIXED_BYTES
        per_sample_bytes = room_bytes / (1.2 * curve.largest)
        workload = SimulatedWorkload(
            peak_bytes=lambda size: round(_FIXED_BYTES + per_sample_bytes * size),
            step_time_s=curve.step_time_s,
            noise_fraction=0.01,
            drift_fraction=0.003,
            dataset_size=10_000_000,
        )
        super().__init__(workload, SimulatedDevice(_CAPACITY_BYTES), seed=seed)
        self.times_s: list[tuple[TimingPlan, float]] = []

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size, with what every trial costs."""
        begin = self.elapsed_s
        self.elapsed_s += _TRIAL_COST_S
        trial = super().measure(batch_size, plan, timeout_s=timeout_s)
        self.times_s.append((plan, self.elapsed_s - begin))
        return trial


class Result(NamedTuple):
    """What a search came to.

    Attributes:
        batch_size: The answer.
        rate: Throughput at the answer over the best of all sizes that fit.
        seconds: Time of the search.
        overhead: That over the time of a bare survey.
    """

    batch_size: int
    rate: float
    seconds: float
    overhead: float


def search(curve: Curve, seed: int) -> Result:
    """One search on a quiet device."""
    prober = QuietProber(curve, seed)
    settings = Settings(time_limit_s=None)
    finding = find(prober, settings, target="simulated", clock=prober.clock)
    finals_s = [time_s for plan, time_s in prober.times_s if plan.is_confirmation]
    firsts_s = [
        time_s
        for plan, time_s in prober.times_s
        if plan.round_number == 0 and not plan.is_confirmation
    ]
    sizes = [2**power for power in range(27) if 2**power <= curve.largest]
    best = max(size / curve.step_time_s(size) for size in sizes)
    size = finding.batch_size
    return Result(
        batch_size=size,
        rate=size / curve.step_time_s(size) / best,
        seconds=prober.elapsed_s,
        overhead=prober.elapsed_s / (sum(firsts_s) + finals_s[0]),
    )


def main() -> int:
    """Search each curve with every seed, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    num_seeds = parser.parse_args().seeds
    rows = []
    for name, curve in CURVES.items():
        results = [search(curve, seed) for seed in range(num_seeds)]
        answers = Counter(each.batch_size for each in results)
        rows.append(
            (
                name,
                f"{statistics.median(each.seconds for each in results):.1f}",
                f"{statistics.median(each.overhead for each in results):.2f}",
                f"{max(each.overhead for each in results):.2f}",
                f"{min(each.rate for each in results):.3f}",
                ", ".join(f"{size} x{answers[size]}" for size in sorted(answers)),
            )
        )
    header = ("curve", "search, s", "over a survey", "most", "lowest rate / best", "answers")
    print_table("searches on a quiet device", header, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())

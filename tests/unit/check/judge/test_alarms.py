"""Many simulated checks on a machine that is as noisy as any: few cry wolf, few sleep."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from autobatch.check.judge.looks import LOOKS, MAX_ROUNDS, Looks
from autobatch.check.judge.timing import judge_times
from autobatch.check.records import TargetLimits
from autobatch.records import Status

NUM_CHECKS = 200


def draw_rounds(
    generator: random.Random, slowdown: float, count: int
) -> Iterator[tuple[float, float]]:
    """Times of target and reference, on a machine of some speed, with heavy-tailed noise."""
    speed, misfit = generator.gauss(0, 0.15), generator.gauss(0, 0.01)
    for _ in range(count):
        # Student's t with 2 degrees of freedom, which has no variance.
        noises = [
            0.035 * generator.gauss(0, 1) / math.sqrt(generator.expovariate(0.5) / 2)
            for _ in range(2)
        ]
        yield (
            0.01 * slowdown * math.exp(speed + misfit + noises[0]),
            0.02 * math.exp(speed + noises[1]),
        )


def check(make_measurement, generator: random.Random, slowdown: float) -> Status:
    def measure(slowdown: float):
        return zip(*draw_rounds(generator, slowdown, MAX_ROUNDS), strict=True)

    times, references = measure(1.0)
    baseline = make_measurement(times, references)
    times, references = measure(slowdown)
    looks = Looks()
    for count in LOOKS:
        alpha = looks.alpha_at(count, is_last=count == MAX_ROUNDS)
        now = make_measurement(times[:count], references[:count])
        (verdict,) = judge_times(TargetLimits(), now, baseline, alpha=alpha)
        if verdict.status is not Status.INCONCLUSIVE:
            return verdict.status
    return Status.INCONCLUSIVE


@pytest.mark.parametrize(
    ("slowdown", "expected", "never"),
    [(1.0, Status.MET, Status.NOT_MET), (1.2, Status.NOT_MET, Status.MET)],
    ids=["the same", "a fifth slower"],
)
def test_of_many_checks_next_to_none_is_wrong(make_measurement, slowdown, expected, never) -> None:
    generator = random.Random(f"{slowdown}")
    found = Counter(check(make_measurement, generator, slowdown) for _ in range(NUM_CHECKS))
    assert found[never] <= 0.01 * NUM_CHECKS
    assert found[expected] >= 0.95 * NUM_CHECKS

"""Which size is the fastest, where all were timed in turn, round after round."""

from __future__ import annotations

import statistics

# A size this much slower than the best is not the best, and need not be timed again.
HOPELESS_RATIO = 0.7


def compare_with_fastest(
    rounds: list[dict[int, float]], sizes: list[int], chosen: int
) -> tuple[list[int], list[float]]:
    """The fastest size of each half of the rounds, and the ratios that the other half gives.

    The fastest of several noisy medians is partly the luckiest, so no half judges its own.

    Args:
        rounds: At least two; in each, samples per second by size.
        sizes: Those that are in every round.
        chosen: The size whose throughput is divided by the fastest's.
    """
    halves = (rounds[::2], rounds[1::2])
    fastest = [
        max(sizes, key=lambda size: statistics.median(each[size] for each in half))
        for half in halves
    ]
    ratios = [
        each[chosen] / each[size]
        for size, other_half in zip(fastest, reversed(halves), strict=True)
        for each in other_half
    ]
    return fastest, ratios

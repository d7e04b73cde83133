"""What the benchmark is to show of autobatch, held against its raw results. Runs nothing."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.peers.table import Score, find_fastest_peers, score_all, search_ratio

_MEDIAN_THROUGHPUT = 0.98
_LOWEST_THROUGHPUT = 0.95
_SEARCH_RATIO = 0.5
_MEMORY_SEARCH_RATIO = 1.0
_NEIGHBOUR = 2.0


def check_targets(document: Mapping[str, Any]) -> list[tuple[str, str, bool | None]]:
    """Each target with what was measured and whether it is met; ``None`` if it was not measured."""
    scores = score_all(document)
    fast = [score for score in scores if score.finder == "autobatch"]
    large = [score for score in scores if score.finder == "autobatch-memory"]
    return [
        *_check_throughput(fast),
        *_check_largest(large, document["timings"]),
        _check_time("throughput", fast, scores, _SEARCH_RATIO),
        _check_time("memory", large, scores, _MEMORY_SEARCH_RATIO),
        _check_failures("throughput", fast, 0),
        _check_failures("memory", large, 1),
        _check_spread(fast),
    ]


def _check_throughput(fast: Sequence[Score]) -> list[tuple[str, str, bool | None]]:
    medians = [statistics.median(each.throughput_ratios) for each in fast if each.throughput_ratios]
    lowest = min((ratio for each in fast for ratio in each.throughput_ratios), default=None)
    name = "throughput at the recommended size over the oracle's best"
    if not medians or lowest is None:
        return [(name, "not measured", None)]
    median = statistics.median(medians)
    return [
        (f"{name}: median >= {_MEDIAN_THROUGHPUT}", f"{median:.3f}", median >= _MEDIAN_THROUGHPUT),
        (f"{name}: never < {_LOWEST_THROUGHPUT}", f"{lowest:.3f}", lowest >= _LOWEST_THROUGHPUT),
    ]


def _check_largest(
    large: Sequence[Score], timings: Mapping[str, Any]
) -> list[tuple[str, str, bool | None]]:
    num_all = num_same = 0
    for score in large:
        largest = timings.get(score.workload, {}).get("largest")
        if largest is not None:
            num_all += len(score.runs)
            num_same += sum(run.get("batch_size") == largest for run in score.runs)
    name = "largest size is the oracle's"
    if not num_all:
        return [(name, "not measured", None)]
    return [(name, f"{num_same} of {num_all}", num_same == num_all)]


def _check_time(
    goal: str, ours: Sequence[Score], scores: Sequence[Score], most: float
) -> tuple[str, str, bool | None]:
    """Against the peers that ran into the limit, and on the workloads where there is one."""
    limited = [score for score in scores if all(run["steps"]["failed"] for run in score.runs)]
    peers = find_fastest_peers(limited)
    ratios = [ratio for score in ours if (ratio := search_ratio(score, peers)) is not None]
    name = f"--goal {goal}: search time over that of peers at the limit, median <= {most}"
    if not ratios:
        return name, "not measured", None
    median = statistics.median(ratios)
    return name, f"{median:.2f} on {len(ratios)} workloads", median <= most


def _check_failures(goal: str, ours: Sequence[Score], most: int) -> tuple[str, str, bool | None]:
    counts = [len(run["steps"]["failed"]) for score in ours for run in score.runs]
    name = f"--goal {goal}: OOM events in a search <= {most}"
    if not counts:
        return name, "not measured", None
    return name, f"at most {max(counts)}", max(counts) <= most


def _check_spread(fast: Sequence[Score]) -> tuple[str, str, bool | None]:
    spreads = [score.spread for score in fast if score.spread is not None and len(score.runs) > 1]
    name = "the same answer or its neighbour in every repeat"
    if not spreads:
        return name, "not measured", None
    num_steady = sum(spread <= _NEIGHBOUR for spread in spreads)
    return name, f"{num_steady} of {len(spreads)} workloads", num_steady == len(spreads)

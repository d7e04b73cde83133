"""What the benchmark is to show of autobatch, held against its raw results. Runs nothing."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.peers.table import Score, find_fastest_peers, score_all, search_ratio

Target = tuple[str, str, bool | None]

_MEDIAN_THROUGHPUT = 0.98
_LOWEST_THROUGHPUT = 0.95
_SEARCH_RATIO = 0.5
_MEMORY_SEARCH_RATIO = 1.0
_NEIGHBOUR = 2.0


def check_targets(document: Mapping[str, Any]) -> list[Target]:
    """Each target with what was measured and whether it is met; ``None`` if it was not measured."""
    scores = score_all(document)
    fast = [score for score in scores if score.finder == "autobatch"]
    large = [score for score in scores if score.finder == "autobatch-memory"]
    return [
        *_check_throughput(fast),
        _check_largest(large, document["timings"]),
        _check_time("throughput", fast, scores, _SEARCH_RATIO),
        _check_time("memory", large, scores, _MEMORY_SEARCH_RATIO),
        _check_failures("throughput", fast, 0),
        _check_failures("memory", large, 1),
        _check_spread(fast),
    ]


def _check_throughput(fast: Sequence[Score]) -> list[Target]:
    measured = [each.throughput_ratios for each in fast if each.throughput_ratios]
    name = "throughput at the recommended size over the oracle's best"
    if not measured:
        return [(name, "not measured", None)]
    median, lowest = statistics.median(map(statistics.median, measured)), min(map(min, measured))
    return [
        (f"{name}: median >= {_MEDIAN_THROUGHPUT}", f"{median:.3f}", median >= _MEDIAN_THROUGHPUT),
        (f"{name}: never < {_LOWEST_THROUGHPUT}", f"{lowest:.3f}", lowest >= _LOWEST_THROUGHPUT),
    ]


def _check_largest(large: Sequence[Score], timings: Mapping[str, Any]) -> Target:
    are_same = [
        run.get("batch_size") == largest
        for score in large
        if (largest := timings.get(score.workload, {}).get("largest")) is not None
        for run in score.runs
    ]
    return _count("largest size is the oracle's", are_same)


def _check_time(goal: str, ours: Sequence[Score], scores: Sequence[Score], most: float) -> Target:
    """Against the peers that ran into the limit, and on the workloads where there is one."""
    limited = [score for score in scores if all(run["steps"]["failed"] for run in score.runs)]
    peers = find_fastest_peers(limited)
    ratios = [ratio for score in ours if (ratio := search_ratio(score, peers)) is not None]
    name = f"--goal {goal}: search time over that of peers at the limit, median <= {most}"
    if not ratios:
        return name, "not measured", None
    median = statistics.median(ratios)
    return name, f"{median:.2f} on {len(ratios)} workloads", median <= most


def _check_failures(goal: str, ours: Sequence[Score], most: int) -> Target:
    counts = [len(run["steps"]["failed"]) for score in ours for run in score.runs]
    name = f"--goal {goal}: OOM events in a search <= {most}"
    if not counts:
        return name, "not measured", None
    return name, f"at most {max(counts)}", max(counts) <= most


def _check_spread(fast: Sequence[Score]) -> Target:
    spreads = [score.spread for score in fast if score.spread is not None and len(score.runs) > 1]
    are_steady = [spread <= _NEIGHBOUR for spread in spreads]
    return _count("the same answer or its neighbour in every repeat", are_steady, " workloads")


def _count(name: str, are_met: Sequence[bool], unit: str = "") -> Target:
    if not are_met:
        return name, "not measured", None
    return name, f"{sum(are_met)} of {len(are_met)}{unit}", all(are_met)

"""Tables of the benchmark from its raw results, for docs/benchmark.md. Runs nothing.

Raw results are the document that ``scripts.peers.run`` writes: ``runs``, a row for every search;
``timings``, the oracle's rounds by workload; ``survival``, a row for every finder in the group.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.fastest import compare_with_fastest

BEGIN_MARKER = "<!-- bench:begin -->"
END_MARKER = "<!-- bench:end -->"
OURS = ("autobatch", "autobatch-memory")
# A finder that tried fewer sizes than this has not looked for any.
_SEARCHING_TRIALS = 3
_NONE = "-"

Table = tuple[Sequence[str], list[list[str]]]


@dataclass(frozen=True, kw_only=True)
class Score:
    """One finder on one workload, over all repeats.

    Attributes:
        finder: Its name.
        workload: The workload's name.
        runs: Raw rows of the searches.
        answers: Sizes that it answered with, in order.
        throughput_ratios: Samples per second at each answer over those of the fastest size;
            nought for an answer that does not fit.
    """

    finder: str
    workload: str
    runs: tuple[Mapping[str, Any], ...]
    answers: tuple[int, ...]
    throughput_ratios: tuple[float, ...]

    @property
    def searched(self) -> bool:
        """Whether it always answered, having tried several sizes."""
        return len(self.answers) == len(self.runs) and all(
            len(set(run["steps"]["trials"])) >= _SEARCHING_TRIALS for run in self.runs
        )

    @property
    def search_s(self) -> float | None:
        """Median time of a search, ``None`` if none ended with an answer."""
        times_s = [run["search_s"] for run in self.runs if "search_s" in run]
        return statistics.median(times_s) if times_s else None

    @property
    def spread(self) -> float | None:
        """Largest answer over the smallest."""
        return max(self.answers) / min(self.answers) if self.answers else None


def score_all(document: Mapping[str, Any]) -> list[Score]:
    """Every finder on every workload, in the order of the document."""
    by_pair: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for run in document["runs"]:
        by_pair.setdefault((run["finder"], run["workload"]), []).append(run)
    return [score_pair(*pair, runs, document["timings"]) for pair, runs in by_pair.items()]


def score_pair(
    finder: str, workload: str, runs: Sequence[Mapping[str, Any]], timings: Mapping[str, Any]
) -> Score:
    """One finder on one workload."""
    answers = tuple(run["batch_size"] for run in runs if run["outcome"] == "answered")
    rounds = read_rounds(timings.get(workload, {}))
    return Score(
        finder=finder,
        workload=workload,
        runs=tuple(runs),
        answers=answers,
        throughput_ratios=tuple(ratio_to_fastest(rounds, each) for each in answers if rounds),
    )


def read_rounds(timing: Mapping[str, Any]) -> list[dict[int, float]]:
    """The oracle's throughputs by size, round after round."""
    rounds = timing.get("rounds", [])
    return [{int(size): rate for size, rate in each.items()} for each in rounds]


def ratio_to_fastest(rounds: list[dict[int, float]], chosen: int) -> float:
    """Median of the throughput at a size over the fastest's; nought if the size did not fit.

    The fastest is picked from one half of the rounds and the ratio taken from the other; of slow
    sizes there are fewer rounds.
    """
    rounds = [each for each in rounds if chosen in each]
    if not rounds or any(each[chosen] == 0.0 for each in rounds):
        return 0.0
    if len(rounds) == 1:
        return rounds[0][chosen] / max(rounds[0].values())
    sizes = [size for size in rounds[0] if all(each.get(size, 0.0) > 0 for each in rounds)]
    _, ratios = compare_with_fastest(rounds, sizes, chosen)
    return statistics.median(ratios)


def find_fastest_peers(scores: Iterable[Score]) -> dict[str, Score]:
    """By workload, the fastest of the other finders that looked at several sizes."""
    fastest: dict[str, Score] = {}
    for score in scores:
        if score.finder in OURS or not score.searched or score.search_s is None:
            continue
        best = fastest.get(score.workload)
        if best is None or score.search_s < (best.search_s or 0.0):
            fastest[score.workload] = score
    return fastest


def search_ratio(score: Score, peers: Mapping[str, Score]) -> float | None:
    """Search time over the fastest peer's, ``None`` where either has none."""
    peer = peers.get(score.workload)
    if peer is None or not peer.search_s or score.search_s is None:
        return None
    return score.search_s / peer.search_s


def tabulate_quality(document: Mapping[str, Any]) -> Table:
    """What each finder's answers are worth, and what they took, over all workloads and repeats."""
    scores = score_all(document)
    peers = find_fastest_peers(scores)
    header = (
        "finder", "answered", "ran its answer", "throughput / best", "search / fastest peer",
        "spread of answers",
    )  # fmt: skip
    rows = []
    for finder, mine in _by_finder(scores).items():
        runs = [run for score in mine for run in score.runs]
        answered = [run for run in runs if run["outcome"] == "answered"]
        ratios = [ratio for score in mine for ratio in score.throughput_ratios]
        searches = [ratio for score in mine if (ratio := search_ratio(score, peers)) is not None]
        spreads = [score.spread for score in mine if score.spread is not None]
        rows.append(
            [
                finder,
                f"{len(answered)} of {len(runs)}",
                f"{sum(run['ran'] for run in answered)} of {len(answered)}",
                describe_range(ratios, "lowest"),
                describe_range(searches, "highest"),
                _format(max(spreads, default=None), ".2g"),
            ]
        )
    return header, rows


def tabulate_conduct(document: Mapping[str, Any]) -> Table:
    """What each finder does on its way to an answer, over all workloads and repeats."""
    survival = {row["finder"]: row for row in document.get("survival", [])}
    header = (
        "finder", "OOM events", "trials", "peak / limit", "weights, RNG unchanged",
        "1.5 GiB group",
    )  # fmt: skip
    rows = []
    for finder, mine in _by_finder(score_all(document)).items():
        runs = [run for score in mine for run in score.runs]
        answered = [run for run in runs if run["outcome"] == "answered"]
        rows.append(
            [
                finder,
                f"{statistics.mean(len(run['steps']['failed']) for run in runs):.1f}",
                f"{statistics.mean(len(run['steps']['trials']) for run in runs):.1f}",
                f"{max(run['peak_bytes'] / run['limit_bytes'] for run in runs):.2f}",
                describe_traces(answered),
                describe_survival(survival.get(finder)),
            ]
        )
    return header, rows


def tabulate_answers(document: Mapping[str, Any]) -> Table:
    """Answers by finder and workload, after what the oracle found."""
    header, rows = _by_workload(document, "chosen size", describe_answers)
    timings = [document["timings"].get(name, {}) for name in header[1:]]
    fastest = [describe_fastest(read_rounds(timing)) for timing in timings]
    largest = [_format(timing.get("largest"), "d") for timing in timings]
    return header, [["oracle: fastest", *fastest], ["oracle: largest", *largest], *rows]


def tabulate_times(document: Mapping[str, Any]) -> Table:
    """Median search times by finder and workload, in seconds."""

    def show(score: Score | None) -> str:
        return _format(score.search_s if score else None, ".1f")

    return _by_workload(document, "search, s", show)


def describe_fastest(rounds: list[dict[int, float]]) -> str:
    """The size with the highest median throughput, with that throughput."""
    if not rounds:
        return _NONE
    medians = {
        size: statistics.median(each[size] for each in rounds)
        for size in rounds[0]
        if all(size in each for each in rounds)
    }
    size = max(medians, key=lambda each: medians[each])
    return f"{size} ({medians[size]:,.0f}/s)"


def describe_answers(score: Score | None) -> str:
    """Answers, each once with how often it was given, or how the searches ended."""
    if score is None:
        return _NONE
    counts: dict[str, int] = {}
    for run in score.runs:
        text = str(run["batch_size"]) if run["outcome"] == "answered" else str(run["outcome"])
        counts[text] = counts.get(text, 0) + 1
    is_one = len(score.runs) == 1
    return ", ".join(text if is_one else f"{text} (x{num})" for text, num in counts.items())


def describe_range(ratios: Sequence[float], which: str) -> str:
    """Median and the worst of some ratios."""
    if not ratios:
        return _NONE
    worst = min(ratios) if which == "lowest" else max(ratios)
    return f"{statistics.median(ratios):.2f} ({which} {worst:.2f})"


def describe_traces(runs: Sequence[Mapping[str, Any]]) -> str:
    """Whether the weights and the random generators were as before after every search."""
    if not runs:
        return _NONE
    words = [
        "yes" if all(run[name] for run in runs) else "no"
        for name in ("weights_unchanged", "generators_unchanged")
    ]
    return ", ".join(words)


def describe_survival(row: Mapping[str, Any] | None) -> str:
    """How a search in the cgroup ended."""
    if row is None:
        return "not tested"
    if row["outcome"] == "answered" and not row["kills"]:
        return f"survived, {row['batch_size']}"
    return str(row["outcome"]) if row["outcome"] != "answered" else "a process was killed"


def render_markdown(table: Table) -> str:
    """A table as Markdown."""
    header, rows = table
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replace_between_markers(text: str, body: str) -> str:
    """A text with another body between the markers of the benchmark.

    Raises:
        ValueError: If the markers are not there once each, in order.
    """
    if text.count(BEGIN_MARKER) != 1 or text.count(END_MARKER) != 1:
        raise ValueError(f"the text must have {BEGIN_MARKER} and {END_MARKER} once each")
    before, rest = text.split(BEGIN_MARKER)
    if END_MARKER not in rest:
        raise ValueError(f"{END_MARKER} must come after {BEGIN_MARKER}")
    after = rest.split(END_MARKER)[1]
    return f"{before}{BEGIN_MARKER}\n{body.strip()}\n{END_MARKER}{after}"


def _by_workload(
    document: Mapping[str, Any], title: str, show: Callable[[Score | None], str]
) -> Table:
    by_pair = {(score.finder, score.workload): score for score in score_all(document)}
    finders = dict.fromkeys(finder for finder, _ in by_pair)
    workloads = dict.fromkeys(workload for _, workload in by_pair)
    rows = [[each, *(show(by_pair.get((each, name))) for name in workloads)] for each in finders]
    return (title, *workloads), rows


def _by_finder(scores: Iterable[Score]) -> dict[str, list[Score]]:
    grouped: dict[str, list[Score]] = {}
    for score in scores:
        grouped.setdefault(score.finder, []).append(score)
    return grouped


def _format(value: float | None, form: str) -> str:
    return _NONE if value is None else format(value, form)

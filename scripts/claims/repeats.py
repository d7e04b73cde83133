"""Does one example get one answer, or its neighbour, in ten searches?

An example is stable if every answer is the commonest one or next to it; whether all answers are no
more than two, next to each other, is said beside.

    python -m scripts.claims.repeats [--runs 10] [EXAMPLE ...]
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from enum import Enum

from autobatch.records import Settings
from scripts.workbench import MEMORY_LIMITS, example_path, make_parser, print_table, report, search


def main() -> int:
    """Search again and again and print."""
    parser = make_parser(__doc__, MEMORY_LIMITS)
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    rows = []
    num_unstable = 0
    for name in arguments.examples:
        findings = [search(example_path(name), Settings()) for _ in range(arguments.runs)]
        answers = [finding.batch_size for finding in findings]
        sizes = sorted({trial.batch_size for f in findings for trial in f.trials})
        verdict = judge([sizes.index(answer) for answer in answers])
        num_unstable += verdict is Verdict.UNSTABLE
        seconds = sorted(finding.search_time_s for finding in findings)
        times = f"{seconds[0]:.0f} to {seconds[-1]:.0f} s"
        rows.append((name, " ".join(map(str, answers)), times, verdict.value))
        report(*rows[-1])
    header = ("example", "answers, in order", "search", "verdict")
    print_table("recommended batch size", header, rows)
    return 1 if num_unstable else 0


class Verdict(Enum):
    """How far some answers lie apart."""

    TWO = "one answer, or two next to each other"
    NEIGHBOURS = "the commonest, or next to it"
    UNSTABLE = "UNSTABLE"


def judge(positions: list[int]) -> Verdict:
    """Judge answers, each given by its position among the sizes that ran."""
    if max(positions) - min(positions) <= 1:
        return Verdict.TWO
    if share_about_commonest(Counter(positions), range(max(positions) + 1)) == 1.0:
        return Verdict.NEIGHBOURS
    return Verdict.UNSTABLE


def share_about_commonest(answers: Counter[int], sizes: Sequence[int]) -> float:
    """Share of answers that are the commonest or next to it; of several as common, the highest."""
    most = max(answers.values())
    middles = [sizes.index(size) for size in answers if answers[size] == most]
    near = [sizes[max(0, middle - 1) : middle + 2] for middle in middles]
    return max(sum(answers[size] for size in each) for each in near) / answers.total()


if __name__ == "__main__":
    sys.exit(main())

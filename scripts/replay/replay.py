"""Searches replayed from recorded timings: what a change of the search does, whatever the machine.

A first run of a size is that of some recorded sweep; sizes that are timed in turn share one. The
clock counts recorded steps and the start of a process. The same recordings can be replayed by two
checkouts, and the same seeds begin the same searches.

    python -m scripts.replay.replay [--searches 24] [--noise 2] [FOLDER]
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from autobatch.finder import find
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Confidence, Settings, Trial
from autobatch.testing import SimulatedDevice, SimulatedProber, SimulatedWorkload
from scripts.claims.repeats import share_about_commonest
from scripts.replay.record import RECORDINGS, load, summarize
from scripts.workbench import print_table

# Fork, first batch and the reply, as recorded for six examples: 0.07 to 0.11 s.
_START_TIME_S = 0.08
_TOLERANCE = 0.055


def main() -> int:
    """Replay searches of every recording and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--searches", type=int, default=24, help="of each recording")
    parser.add_argument("--noise", type=float, default=1.0, help="times that recorded")
    parser.add_argument("folder", type=Path, nargs="?", default=RECORDINGS)
    arguments = parser.parse_args()
    rows, scores = [], []
    for path in sorted(arguments.folder.glob("*.json.xz")):
        score, answers = replay_often(load(path), arguments.searches, noise=arguments.noise)
        listed = ", ".join(f"{size} x{answers[size]}" for size in sorted(answers))
        rows.append((path.name.split(".")[0], *show(score), listed))
        scores.append(score)
    rows.append(("all", *show(average(scores)), ""))
    header = (
        "recording", "rate / best", "slower by 5.5 %", "in two sizes", "about commonest",
        "low confidence", "search, s", "answers",
    )  # fmt: skip
    print_table("replayed searches", header, rows)
    return 0


class Score(NamedTuple):
    """What repeated searches of one recording came to; fractions of the searches but for two.

    Attributes:
        rate: Throughput at the answer over that of the fastest size, mean.
        slow: Answers slower than the fastest size by more than 5.5 %.
        in_two: Answers that two neighbouring sizes have between them.
        about_commonest: Answers that are the commonest or next to it.
        low: Answers of low confidence.
        seconds: Time of a search, median.
    """

    rate: float
    slow: float
    in_two: float
    about_commonest: float
    low: float
    seconds: float


def replay_often(
    recording: dict[str, Any], num_searches: int, *, noise: float = 1.0
) -> tuple[Score, Counter[int]]:
    """Replay searches with the seeds from 0 on, as many at a time as there are cores."""
    with ProcessPoolExecutor() as pool:
        results = list(pool.map(partial(replay, recording, noise=noise), range(num_searches)))
    return judge(recording, results)


def replay_in_turn(recording: dict[str, Any], num_searches: int) -> Score:
    """Replay searches one after the other."""
    return judge(recording, [replay(recording, seed) for seed in range(num_searches)])[0]


def judge(recording: dict[str, Any], results: Sequence[Result]) -> tuple[Score, Counter[int]]:
    """Hold answers against the recorded throughputs."""
    rates = summarize(recording["cells"])
    largest, best = max(rates), max(rates.values())
    answers = Counter(result.batch_size for result in results)
    sizes = sorted({*rates, *answers})
    ratios = [rates.get(each.batch_size, rates[largest]) / best for each in results]
    score = Score(
        rate=statistics.mean(ratios),
        slow=statistics.mean(ratio < 1 - _TOLERANCE for ratio in ratios),
        in_two=share_of_two(answers, sizes),
        about_commonest=share_about_commonest(answers, sizes),
        low=statistics.mean(each.is_low for each in results),
        seconds=statistics.median(each.seconds for each in results),
    )
    return score, answers


def average(scores: Sequence[Score]) -> Score:
    """The mean of each figure."""
    return Score(*map(statistics.mean, zip(*scores, strict=True)))


def show(score: Score) -> tuple[str, ...]:
    """The figures as text."""
    return (*map("{:.3f}".format, score[:-1]), f"{score.seconds:.1f}")


class RecordedProber(SimulatedProber):
    """Runs whose steps take what recorded ones took.

    Args:
        recording: As ``record`` makes it.
        seed: Of what is drawn.
        noise: What deviations from a size's median are to be multiplied with, as logs.
    """

    def __init__(self, recording: dict[str, Any], seed: int, *, noise: float = 1.0) -> None:
        cells = recording["cells"]
        peaks = {cell["batch_size"]: cell["peak_bytes"] for cell in cells}
        largest = max(peaks)
        workload = SimulatedWorkload(
            peak_bytes=lambda size: peaks[min(size, largest)] * max(1, size // largest),
            step_time_s=self._next_step_s,
            dataset_size=recording["dataset_size"],
            smallest_batch_size=recording["smallest_batch_size"],
        )
        capacity_bytes = round(recording["budget_bytes"] / (1 - Settings().headroom_fraction))
        super().__init__(workload, SimulatedDevice(capacity_bytes), seed=seed)
        self._runs: dict[int, dict[int, Sequence[float]]] = {}
        for cell in cells:
            runs = self._runs.setdefault(cell["batch_size"], {})
            runs[cell["sweep"]] = cell["step_times_s"]
        self._every_sweep = sorted({cell["sweep"] for cell in cells})
        self._rates = summarize(cells)
        self._largest = largest
        self._noise = noise
        self._sweeps: dict[int, int] = {}
        self._steps_s: Sequence[float] = ()
        self._num_steps = 0

    def measure(
        self, batch_size: int, plan: TimingPlan, *, timeout_s: float | None = None
    ) -> Trial:
        """Run one size, with the steps of one recorded run of it."""
        self.elapsed_s += _START_TIME_S
        self._draw(min(batch_size, self._largest), plan.round_number)
        return super().measure(batch_size, plan, timeout_s=timeout_s)

    def _draw(self, size: int, round_number: int) -> None:
        runs = self._runs[size]
        sweep = self._random.choice(self._every_sweep)
        if round_number:
            sweep = self._sweeps.setdefault(round_number, sweep)
        self._steps_s = runs.get(sweep) or self._random.choice(list(runs.values()))
        self._num_steps = self._random.randrange(len(self._steps_s))

    def _next_step_s(self, batch_size: int) -> float:
        recorded_s = self._steps_s[self._num_steps % len(self._steps_s)]
        self._num_steps += 1
        size = min(batch_size, self._largest)
        usual_s = size / self._rates[size]
        return usual_s * math.exp(self._noise * math.log(recorded_s / usual_s)) * batch_size / size


class Result(NamedTuple):
    """One replayed search: its answer, the seconds that it would have taken, and if it is sure."""

    batch_size: int
    seconds: float
    is_low: bool


def replay(recording: dict[str, Any], seed: int, *, noise: float = 1.0) -> Result:
    """Replay one search."""
    prober = RecordedProber(recording, seed, noise=noise)
    settings = Settings(time_limit_s=None)
    finding = find(prober, settings, target="recorded", clock=prober.clock)
    return Result(finding.batch_size, prober.elapsed_s, finding.confidence is Confidence.LOW)


def share_of_two(answers: Counter[int], sizes: Sequence[int]) -> float:
    """Largest share of answers that two sizes next to each other have between them."""
    pairs = zip(sizes, [*sizes[1:], sizes[-1]], strict=True)
    return max(answers[a] + answers[b] * (a != b) for a, b in pairs) / answers.total()


if __name__ == "__main__":
    sys.exit(main())

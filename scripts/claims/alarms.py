"""Does `autobatch check` cry wolf, and does it sleep? Two tables: real runs and simulated ones.

Recording. A target, its twin, and the same with work added to every step (34 passes for 28, which
makes a step about a fifth longer) are timed in turn, each cell in a process of its own, exactly as
a check does:

    python -m scripts.claims.alarms --record conv.json --kind conv --seconds 600

and, for memory, the target with and without 5 % more of its peak:

    python -m scripts.claims.alarms --record-memory memory.json

Judging. Each recording is cut into baselines, which end as a check ends them, once they are known
well enough, and runs as long as a check is at most. Each baseline is held against every run that
it shares no round with, and judged as a check judges it: look by look, until it is decided. So a
run takes part in many comparisons, and they are not independent; how many runs there are without
a common round is printed beside. Target against itself is A/A: a `not met` there is a false alarm.
The slower target against the plain one is the power. Each is judged with the twin as reference, as
with --reference and the branch that a change is made to, and without a reference.

    python -m scripts.claims.alarms conv.json mlp.json tiny.json --memory memory.json --stride 4

The simulation draws rounds whose noise is heavy-tailed, correlated and different from session
to session, and judges them the same way.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autobatch.check.judge.looks import LOOKS, MAX_ROUNDS, Looks
from autobatch.check.judge.memory import judge_memory
from autobatch.check.judge.timing import PRECISE_ERROR, judge_times, precision_of
from autobatch.check.records import NO_REFERENCE, CheckRound, Measurement, TargetLimits
from autobatch.check.session import FEWEST_FOR_BASELINE, PLAN
from autobatch.probe.client import TargetProber
from autobatch.records import MemoryBudget, Settings, Status
from autobatch.testing import make_environment
from scripts.workbench import make_parser, print_table

WORKLOAD = str(Path(__file__).with_name("alarm_workload.py"))
BATCH_SIZES = {"conv": 16, "mlp": 32, "tiny": 32}
PASSES = ("28", "34")
REFERENCES = ("twin", NO_REFERENCE)
MEMORY_ROUNDS = 3
Row = tuple[object, ...]


def main() -> int:
    """Record, or judge what was recorded."""
    parser = make_parser(__doc__)
    parser.add_argument("recordings", nargs="*")
    parser.add_argument("--record")
    parser.add_argument("--kind", choices=list(BATCH_SIZES), default="conv")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--record-memory")
    parser.add_argument("--memory")
    parser.add_argument("--rounds", type=int, default=MAX_ROUNDS)
    parser.add_argument("--stride", type=int, default=8)
    parser.add_argument("--simulations", type=int, default=2000)
    arguments = parser.parse_args()
    if arguments.record:
        record(arguments.record, arguments.kind, arguments.seconds)
        return 0
    if arguments.record_memory:
        record_memory(arguments.record_memory)
        return 0
    cut = Cut(arguments.rounds, arguments.stride)
    real = [row for path in arguments.recordings for row in judge_real(path, cut)]
    if arguments.memory:
        real += judge_memory_runs(arguments.memory)
    header = ("what", "runs", "comparisons", "not met", "met", "inconclusive", "rounds")
    print_table("real runs, --tolerance 10%, --memory-tolerance 2%", header, real)
    print_table("simulated", header, list(simulate(arguments.simulations)))
    return 0


def record(path: str, kind: str, seconds: float) -> None:
    """Time target, slower target and twin in turn, and write every step."""
    passes = {"same": PASSES[0], "slower": PASSES[1], "twin": PASSES[0]}
    with ExitStack() as stack:
        cells: dict[str, tuple[TargetProber, int]] = {}
        for name, number in passes.items():
            settings = Settings(device="cpu", variables={"KIND": kind, "PASSES": number})
            cells[name] = stack.enter_context(TargetProber(WORKLOAD, settings)), BATCH_SIZES[kind]
        rounds = list(measure_in_turn(cells, seconds))
    Path(path).write_text(json.dumps({"kind": kind, "rounds": rounds}))
    print(f"{path}: {len(rounds)} rounds; slower / same = {slowdown_of(rounds):.3f}")


def measure_in_turn(
    cells: dict[str, tuple[TargetProber, int]], seconds: float
) -> Iterator[dict[str, Any]]:
    """Rounds, for some time."""
    for prober, _ in cells.values():
        prober.load()
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        trials = {name: prober.measure(size, PLAN) for name, (prober, size) in cells.items()}
        yield {
            name: {"step_times_s": trial.step_times_s, "peak_bytes": trial.peak_bytes}
            for name, trial in trials.items()
        }


def record_memory(path: str, num_rounds: int = 48) -> None:
    """Peaks of the target, and of the target with 5 % of them more."""
    peaks: dict[str, list[int | None]] = {}
    keep_mib = 0.0
    for name in ("same", "grown"):
        settings = Settings(device="cpu", variables={"KEEP_MIB": str(keep_mib)})
        with TargetProber(WORKLOAD, settings) as prober:
            prober.load()
            peaks[name] = [
                prober.measure(BATCH_SIZES["conv"], PLAN).peak_bytes for _ in range(num_rounds)
            ]
        keep_mib = 0.05 * statistics.median(peaks["same"]) / 2**20
    Path(path).write_text(json.dumps(peaks))
    growth = statistics.median(peaks["grown"]) / statistics.median(peaks["same"]) - 1
    print(f"{path}: {num_rounds} rounds each; growth {growth:.1%}")


@dataclass(frozen=True)
class Cut:
    """How a recording is cut into runs, in rounds."""

    longest: int
    stride: int

    def baselines(
        self, rounds: tuple[CheckRound, ...], reference: str
    ) -> Iterator[tuple[int, int]]:
        """Where each baseline begins and ends: as soon as a check would keep it."""
        for begin in range(0, len(rounds) - FEWEST_FOR_BASELINE + 1, self.stride):
            run = rounds[begin : begin + self.longest]
            for count in (n for n in looks_at(len(run)) if n >= FEWEST_FOR_BASELINE):
                error = precision_of(as_measurement(run[:count], reference))
                if error <= PRECISE_ERROR or count == self.longest:
                    yield begin, begin + count
                    break

    def pairs(
        self, rounds: tuple[CheckRound, ...], reference: str
    ) -> Iterator[tuple[slice, slice]]:
        """Each baseline, and each run to hold against it; they share no round."""
        for begin, end in self.baselines(rounds, reference):
            for now in range(0, len(rounds) - self.longest + 1, self.stride):
                if now >= end or begin >= now + self.longest:
                    yield slice(begin, end), slice(now, now + self.longest)


def judge_real(path: str, cut: Cut) -> Iterator[Row]:
    """Every baseline of a recording against every run."""
    rounds = json.loads(Path(path).read_text())["rounds"]
    for reference in REFERENCES:
        same, slower = (timed(rounds, name, reference) for name in ("same", "slower"))
        added = f"{slowdown_of(rounds) - 1:+.0%} time"
        for what, baseline, now in (
            ("A/A", same, same),
            ("A/A, slower one", slower, slower),
            (added, same, slower),
        ):
            pairs = cut.pairs(baseline, reference)
            judged = [judge_pair(baseline[a], now[b], reference) for a, b in pairs]
            name = f"{what}, {Path(path).stem}, reference: {reference}"
            yield (name, len(rounds) // cut.longest, *count(judged))


def slowdown_of(rounds: Sequence[Any]) -> float:
    """How much longer a step of the slower target takes."""
    return statistics.median(
        statistics.median(each["slower"]["step_times_s"])
        / statistics.median(each["same"]["step_times_s"])
        for each in rounds
    )


def timed(rounds: Sequence[Any], name: str, reference: str) -> tuple[CheckRound, ...]:
    """The rounds of one target and one reference."""
    return tuple(
        CheckRound(
            step_times_s=tuple(each[name]["step_times_s"]),
            reference_times_s=tuple(each[reference]["step_times_s"])
            if reference != NO_REFERENCE
            else (),
        )
        for each in rounds
    )


def looks_at(total: int) -> list[int]:
    """After how many rounds a check looks at a run, the last time at its end."""
    return [*(number for number in LOOKS if number < total), total]


def judge_pair(
    before: tuple[CheckRound, ...], now: tuple[CheckRound, ...], reference: str
) -> tuple[Status, int]:
    """Judge a run against a baseline as a check does, and say after how many rounds."""
    looks, baseline = Looks(), as_measurement(before, reference)
    for num_rounds in looks_at(len(now)):
        alpha = looks.alpha_at(num_rounds, is_last=num_rounds == len(now))
        assert alpha is not None
        measured = as_measurement(now[:num_rounds], reference)
        (verdict,) = judge_times(TargetLimits(), measured, baseline, alpha=alpha)
        if verdict.status is not Status.INCONCLUSIVE:
            break
    return verdict.status, num_rounds


def judge_memory_runs(path: str) -> Iterator[Row]:
    """Runs of three rounds, each against every other."""
    peaks = json.loads(Path(path).read_text())
    runs = {
        name: [each[i : i + MEMORY_ROUNDS] for i in range(0, len(each), MEMORY_ROUNDS)]
        for name, each in peaks.items()
    }
    for what, name in (("A/A memory", "same"), ("+5 % memory", "grown")):
        pairs = [
            (a, b) for i, a in enumerate(runs["same"]) for j, b in enumerate(runs[name]) if i != j
        ]
        judged = [(judge_peaks(before, now), MEMORY_ROUNDS) for before, now in pairs]
        yield (what, len(runs["same"]), *count(judged))


def judge_peaks(before: Sequence[int], now: Sequence[int]) -> Status:
    """Judge the growth of the peak."""
    rounds = tuple(CheckRound(step_times_s=(1.0,), peak_bytes=peak) for peak in before)
    baseline = as_measurement(rounds, NO_REFERENCE)
    (verdict,) = judge_memory(TargetLimits(), tuple(now), NO_BUDGET, baseline, is_lower_bound=False)
    return verdict.status


def simulate(count_of: int) -> Iterator[Row]:
    """Rounds with noise as bad as was seen, and worse."""
    for name, machine in MACHINES.items():
        for what, slowdown in (("A/A", 1.0), ("+20 %", 1.2)):
            generator = random.Random(f"{name} {what}")
            judged = []
            for _ in range(count_of):
                before = tuple(machine.draw_session(generator, 1.0))
                now = tuple(machine.draw_session(generator, slowdown))
                judged.append(judge_pair(before, now, machine.reference))
            yield (f"{what}, {name}", 2 * count_of, *count(judged))


def heavy_tails(generator: random.Random) -> float:
    """Student's t with 2 degrees of freedom, which has no variance."""
    chi_square = generator.expovariate(0.5)
    return 0.035 * generator.gauss(0, 1) / (chi_square / 2) ** 0.5


def bursts(generator: random.Random) -> float:
    """Normal noise, and one cell in ten that takes up to three times as long."""
    burst = generator.uniform(0, 1.1) if generator.random() < 0.1 else 0.0
    return generator.gauss(0, 0.04) + burst


@dataclass(frozen=True)
class Machine:
    """What disturbs the cells of a check.

    Attributes:
        noise: Of one cell.
        misfit: What the reference does not cancel of the difference between sessions, a share.
        between_sessions: How far its speed strays from one session to another, a share.
        reference: What it is called.
    """

    noise: Callable[[random.Random], float]
    misfit: float = 0.01
    between_sessions: float = 0.15
    reference: str = "twin"

    def draw_session(self, generator: random.Random, slowdown: float) -> Iterator[CheckRound]:
        """Rounds of one session.

        Within the session the machine's speed wanders by 5 %, with a memory of some rounds.
        """
        common = generator.gauss(0, self.between_sessions)
        own = generator.gauss(0, self.misfit)
        wander = generator.gauss(0, 0.05)
        for _ in range(MAX_ROUNDS):
            wander = 0.8 * wander + generator.gauss(0, 0.05 * (1 - 0.8**2) ** 0.5)
            speed = common + wander
            logs = (speed + own + self.noise(generator), speed + self.noise(generator))
            target_s, reference_s = (6e-3 * 2.718281828**log for log in logs)
            yield CheckRound(step_times_s=(slowdown * target_s,), reference_times_s=(reference_s,))


MACHINES = {
    "normal 5 %": Machine(lambda generator: generator.gauss(0, 0.05)),
    "heavy tails": Machine(heavy_tails),
    "bursts": Machine(bursts),
    "bursts, a poor reference": Machine(bursts, misfit=0.03),
    "bursts, no reference": Machine(bursts, reference=NO_REFERENCE),
    "bursts, no reference, sessions alike": Machine(
        bursts, between_sessions=0.03, reference=NO_REFERENCE
    ),
}
NO_BUDGET = MemoryBudget(
    capacity_bytes=1, used_by_others_bytes=0, headroom_fraction=0, budget_bytes=1, bound_by=""
)


def as_measurement(rounds: tuple[CheckRound, ...], reference: str) -> Measurement:
    """Rounds as a measurement of no machine in particular."""
    return Measurement(
        target="",
        batch_size=1,
        precision="fp32",
        device="cpu",
        reference=reference,
        reference_batch_size=1,
        num_threads=1,
        environment=make_environment(),
        rounds=rounds,
    )


def count(judged: Sequence[tuple[Status, int]]) -> Row:
    """Comparisons, the share of each verdict, and the usual number of rounds."""
    statuses = Counter(status for status, _ in judged)
    total = max(1, len(judged))
    shares = [
        f"{statuses[each]} ({statuses[each] / total:.1%})"
        for each in (Status.NOT_MET, Status.MET, Status.INCONCLUSIVE)
    ]
    rounds = statistics.median(number for _, number in judged) if judged else "-"
    return (len(judged), *shares, rounds)


if __name__ == "__main__":
    sys.exit(main())

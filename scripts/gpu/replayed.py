"""Is the largest size right on a device with PyTorch's caching allocator, whatever ran before?

Six trainings run for real on the CPU, while their memory is that of a model of the allocator
(``autobatch.testing.replayed``). For each under ten capacities, without headroom:

    truth     every power of two, in a plain loop on a device of its own, 10 steps
    memory    a search for the largest size must find what the truth says
    fastest   so must a search for the fastest that meets the limit; where it ends before, what it
              predicts is counted
    orders    half the largest, the largest and twice it, in all six orders in one worker (nine
              trials have them all), end as the truth says, and each trial begins with the memory
              as it was after loading
    100       the largest runs 100 steps of the plain loop in a process of its own

Exit status 1 if one of them does not hold, or anything raises.

    python -m scripts.gpu.replayed [WORKLOAD ...] [--caps 10] [--json FILE]
"""

from __future__ import annotations

import gc
import itertools
import json
import multiprocessing
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from autobatch.errors import NothingFitsError
from autobatch.finder import find
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Goal, Settings
from autobatch.testing.replayed import InProcessProber, ReplayedGpu
from autobatch.testing.replayed.prober import place
from autobatch.workload.task import load_task
from scripts.gpu.workloads import WORKLOADS
from scripts.workbench import make_parser, print_table, report

# Not ``__main__``: Python 3.11's server imports nothing for that name, and each process all of it.
_NAME = "scripts.gpu.replayed"
LARGEST = 64
_SIZES = tuple(2**power for power in range(LARGEST.bit_length()))
_SETTINGS = Settings(device="cpu", headroom_fraction=0.0, max_batch_size=LARGEST, time_limit_s=None)
# The memory of a model of some hundred megabytes, and what an H100's driver takes besides.
_GPU = ReplayedGpu(capacity_bytes=2**40, overhead_bytes=534 * 2**20, scale=128)
_SHORT = TimingPlan(min_steps=1, max_time_s=0.0)
_NUM_SHORT_STEPS = 3
_NUM_TRUTH_STEPS, _NUM_STEPS = 10, 100
#: Of so many sizes, every order is somewhere in this row of their indices.
WALKS = {1: (0,), 2: (0, 1, 0), 3: (0, 1, 2, 0, 1, 0, 2, 1, 0)}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One workload under one capacity.

    Attributes:
        workload: Its name.
        capacity_bytes: Memory of the device.
        truth: The largest size by the plain loop, 0 if none fits.
        memory: The answer of a search for it.
        fastest: The largest size by a search for the fastest.
        fastest_is_known: Whether that ran and the next did not fit; else it is a prediction, or
            the largest that ran.
        orders_hold: Whether all orders of trials ended alike.
        begins_alike: Whether each trial began with the memory of a fresh process.
        runs_on: Whether the largest ran for 100 steps in a process of its own.
        alloc_retries_per_step: At the largest size.
        error: What was raised, or empty.
    """

    workload: str
    capacity_bytes: int
    truth: int
    memory: int = 0
    fastest: int = 0
    fastest_is_known: bool = True
    orders_hold: bool = True
    begins_alike: bool = True
    runs_on: bool = True
    alloc_retries_per_step: float = 0.0
    error: str = ""

    @property
    def is_right(self) -> bool:
        """Whether all of it is as it must be."""
        fastest_is_right = self.fastest == self.truth or not self.fastest_is_known
        is_right = self.memory == self.truth and fastest_is_right and not self.error
        return is_right and self.orders_hold and self.begins_alike and self.runs_on


def main() -> int:
    """Run all cases and print."""
    parser = make_parser(__doc__, WORKLOADS)
    parser.add_argument("--caps", type=int, default=10)
    parser.add_argument("--json", type=Path, help="those in it are not run again")
    arguments = parser.parse_args()
    prepare()
    begin, cases = time.perf_counter(), []
    known = read_cases(arguments.json)
    capacities = {name: choose_capacities(name, arguments.caps) for name in arguments.examples}
    for index, name in itertools.product(range(arguments.caps), arguments.examples):
        capacity_bytes = capacities[name][index]
        case = known.get((name, capacity_bytes)) or examine(name, capacity_bytes)
        cases.append(case)
        report(cases[-1])
        if arguments.json:
            arguments.json.write_text(json.dumps([asdict(case) for case in cases], indent=1))
    print_cases(cases, arguments.examples)
    wrong = [case for case in cases if not case.is_right]
    for case in wrong:
        print(f"WRONG: {case}")
    print(f"{len(cases)} cases, {len(wrong)} wrong, {time.perf_counter() - begin:.0f} s")
    return 1 if wrong else 0


def read_cases(file: Path | None) -> dict[tuple[str, int], Case]:
    """Cases of a run that was cut off, by workload and capacity; none if there is no file."""
    if file is None or not file.exists():
        return {}
    cases = [Case(**fields) for fields in json.loads(file.read_text())]
    return {(case.workload, case.capacity_bytes): case for case in cases}


def prepare() -> None:
    """One thread, and no garbage collector that looks through all of PyTorch in each trial."""
    torch.set_num_threads(1)
    # The optimizers' steps import the compiler, each process anew.
    preload = [_NAME, "torch._dynamo"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(preload)
    gc.freeze()


def examine(name: str, capacity_bytes: int) -> Case:
    """All that is claimed of a workload under a capacity."""
    gpu = replace(_GPU, capacity_bytes=capacity_bytes)
    case = Case(workload=name, capacity_bytes=capacity_bytes, truth=find_truth(name, gpu))
    try:
        memory, _ = search(name, gpu, Goal.MEMORY)
        fastest, is_known = search(name, gpu, Goal.THROUGHPUT)
        orders_hold, begins_alike, retries = run_in_all_orders(name, gpu, case.truth)
        runs_on = case.truth == 0 or train_apart(name, case.truth, gpu)
    except Exception as error:
        return replace(case, error=f"{type(error).__name__}: {error}")
    return replace(
        case,
        memory=memory,
        fastest=fastest,
        fastest_is_known=is_known,
        orders_hold=orders_hold,
        begins_alike=begins_alike,
        runs_on=runs_on,
        alloc_retries_per_step=retries,
    )


def choose_capacities(name: str, count: int) -> list[int]:
    """Capacities between what sizes 2 and 32 reserve, and a little off on both sides."""
    low_bytes = 0.95 * (train(name, 2, _GPU, 3) or 0)
    high_bytes = 1.05 * (train(name, 32, _GPU, 3) or 0)
    ratio = (high_bytes / low_bytes) ** (1 / max(1, count - 1))
    return [_GPU.overhead_bytes + round(low_bytes * ratio**index) for index in range(count)]


def find_truth(name: str, gpu: ReplayedGpu) -> int:
    """The largest power of two that a plain loop can train with."""
    fitting = [size for size in _SIZES if train(name, size, gpu, _NUM_TRUTH_STEPS) is not None]
    return max(fitting, default=0)


def train(name: str, size: int, gpu: ReplayedGpu, num_steps: int) -> int | None:
    """Train in a plain loop, without any code of a trial.

    Args:
        name: The workload.
        size: Its batch size.
        gpu: Where.
        num_steps: For how long.

    Returns:
        Peak of reserved memory; ``None`` if memory ran out.
    """
    device = gpu.open()
    try:
        task = place(load_task(target_of(name), _SETTINGS), device)
        batches = task.source.batches(size)
        with device.storages:
            for _ in range(num_steps):
                step(task.model, task.loss, task.built.optimizer, next(batches))
    except torch.OutOfMemoryError:
        return None
    return device.cuda.max_memory_reserved()


def step(model: object, loss: object, optimizer: torch.optim.Optimizer, batch: object) -> None:
    """One step, in the order that needs the most memory: gradients stay through forward."""
    value = loss(model, batch)  # type: ignore[operator]
    optimizer.zero_grad()
    value.backward()
    optimizer.step()


def train_apart(name: str, size: int, gpu: ReplayedGpu) -> bool:
    """Whether 100 steps run in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    # Threads that wait for each other are many times slower where other processes want the cores.
    with context.Pool(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return pool.apply(train, (name, size, gpu, _NUM_STEPS)) is not None


def search(name: str, gpu: ReplayedGpu, goal: Goal) -> tuple[int, bool]:
    """The largest size by a search, and whether it is known to be that."""
    settings = replace(_SETTINGS, goal=goal)
    prober = InProcessProber(lambda: load_task(target_of(name), settings), settings, gpu)
    try:
        answer = find(prober, settings, target=name).recommendation
    except NothingFitsError:
        return 0, True
    is_known = answer.largest_was_run and not answer.largest_is_lower_bound
    return answer.largest_batch_size, is_known


def run_in_all_orders(name: str, gpu: ReplayedGpu, truth: int) -> tuple[bool, bool, float]:
    """Run sizes about the largest, in all orders in one worker.

    Args:
        name: The workload.
        gpu: Where.
        truth: The largest size.

    Returns:
        Whether each ended as it must, whether each began with the memory as it was after loading,
        and how often the allocator gave its cache back in a step of the largest.
    """
    if truth == 0:
        return True, True, 0.0
    prober = InProcessProber(lambda: load_task(target_of(name), _SETTINGS), _SETTINGS, gpu)
    prober.load()
    layouts = watch_layouts(prober)
    sizes = sorted({max(1, truth // 2), truth, min(LARGEST, 2 * truth)})
    fits = {size: train(name, size, gpu, _NUM_SHORT_STEPS) is not None for size in sizes}
    hold, retries = True, 0.0
    for size in (sizes[index] for index in WALKS[len(sizes)]):
        trial = prober.measure(size, _SHORT)
        hold &= trial.fits == fits[size]
        if size == truth:
            retries = trial.alloc_retries_per_step or 0.0
    return hold, len(layouts) == 1, retries


def watch_layouts(prober: InProcessProber) -> set[tuple[object, ...]]:
    """Note where free memory lies when a trial begins, from now on."""
    cuda = prober.device.cuda
    allocator, reset = cuda.allocator, cuda.reset_peak_memory_stats
    layouts: set[tuple[object, ...]] = set()

    def note(device: int = 0) -> None:
        pools = (allocator.small, allocator.large)
        free = tuple((block.address, block.size) for pool in pools for block in pool.blocks())
        layouts.add((allocator.statistics.allocated_bytes, free))
        reset(device)

    cuda.reset_peak_memory_stats = note  # type: ignore[method-assign]
    return layouts


def target_of(name: str) -> str:
    """A workload as a target."""
    return f"{Path(__file__).with_name('workloads.py')}:{name}"


def print_cases(cases: list[Case], names: list[str]) -> None:
    """A row for each workload."""
    rows = []
    for name in names:
        own = [case for case in cases if case.workload == name]
        known = [case for case in own if case.fastest_is_known]
        predicted = [case for case in own if not case.fastest_is_known]
        rows.append(
            (
                name,
                f"{min(case.truth for case in own)} to {max(case.truth for case in own)}",
                f"{sum(case.memory == case.truth for case in own)} of {len(own)}",
                f"{sum(case.fastest == case.truth for case in known)} of {len(known)}",
                f"{sum(case.fastest == case.truth for case in predicted)} of {len(predicted)}",
                f"{sum(case.orders_hold and case.begins_alike for case in own)} of {len(own)}",
                f"{sum(case.runs_on for case in own)} of {len(own)}",
                sum(case.alloc_retries_per_step >= 0.5 for case in own),
            )
        )
    header = ("workload", "largest", "memory", "fastest", "predicted", "orders", "100", "retry")
    print_table("on a model of the caching allocator", header, rows)


if __name__ == "__main__":
    sys.exit(main())

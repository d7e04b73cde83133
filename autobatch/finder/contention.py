"""Other processes on the cores: how they slow the threads of a step, and what helps.

The threads of a parallel region wait for the slowest of them. Where other processes want the same
cores, one thread is always waiting for its turn, and by default the others spin while they wait for
it, on the core that it needs. Sizes computed by several threads were seen to be a hundred times
slower than a single sample, which one thread computes.
Two remedies are tried on one size: fewer threads, and threads that sleep while they wait.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

from autobatch.decide.numbers import NUMBERS
from autobatch.finder.evidence import Evidence
from autobatch.probe.probers import AdjustableProber, Prober
from autobatch.records import Contention, Trial

#: Makes OpenMP threads sleep while they wait; GNU's and LLVM's runtimes read it.
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
_CHOSEN_BY_USER = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
_NUM_CELLS = 3
# One or two are often computed by a single thread.
_FEWEST_SAMPLES = 4


def count_busy_cores(evidence: Evidence) -> float | None:
    """Count the cores that other processes kept busy during the trials so far.

    Returns:
        ``None`` if too little is known, or if there are enough cores for all.
    """
    workload, num_cores = evidence.loaded.workload, evidence.loaded.environment.num_cores
    told = [
        trial.others_busy_cores
        for trial in evidence.fitting.values()
        if trial.others_busy_cores is not None
    ]
    if len(told) < 2 or max(evidence.fitting) < _FEWEST_SAMPLES:
        return None
    others = statistics.median(told)
    missing = others + workload.num_threads - num_cores
    return others if workload.num_threads > 1 and missing >= NUMBERS.contended_cores else None


def find_remedy(
    prober: Prober,
    evidence: Evidence,
    others_busy_cores: float,
    measure: Callable[[int, int | None], Trial],
) -> Contention | None:
    """Try the remedies against contention, and leave the prober with the one that helps.

    Args:
        prober: Runs the trials.
        evidence: At least one size has fitted.
        others_busy_cores: Cores that others keep busy.
        measure: Runs a size with this many threads, ``None`` for the usual number.

    Returns:
        What helped; ``None`` if nothing did by enough to be sure.
    """
    size = max(evidence.fitting)
    num_cores = evidence.loaded.environment.num_cores
    num_threads = max(1, num_cores - round(others_busy_cores))
    fewer = _time(measure, size, num_threads)
    best: tuple[float, int | None, dict[str, str]] = (fewer, num_threads, {})
    can_be_passive = isinstance(prober, AdjustableProber) and not any(
        name in evidence.settings.variables for name in _CHOSEN_BY_USER
    )
    if can_be_passive:
        assert isinstance(prober, AdjustableProber)
        prober.use_variables(PASSIVE)
        passive = _time(measure, size, None)
        # Prefer all threads even if a little slower: they are right once the others are gone.
        if passive >= NUMBERS.passive_ratio * fewer:
            best = (passive, None, dict(PASSIVE))
        else:
            prober.use_variables({})
    rate, threads, variables = best
    usual = evidence.trials[size].samples_per_s or 0.0
    if rate < NUMBERS.remedy_ratio * usual:
        if isinstance(prober, AdjustableProber):
            prober.use_variables({})
        return None
    return Contention(
        others_busy_cores=others_busy_cores,
        num_cores=num_cores,
        num_threads=threads,
        variables=variables,
        speedup=rate / usual,
        batch_size=size,
    )


def _time(measure: Callable[[int, int | None], Trial], size: int, num_threads: int | None) -> float:
    """Median throughput of some cells, in samples per second."""
    cells = [measure(size, num_threads) for _ in range(_NUM_CELLS)]
    return statistics.median(cell.samples_per_s or 0.0 for cell in cells)

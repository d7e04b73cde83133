"""One finder, or the oracle, on one workload, in a process of its own; started by the benchmark.

    python -m scripts.peers.child search FINDER WORKLOAD SEED STEPS.txt
    python -m scripts.peers.child survey SIZE,... WORKLOAD SEED
    python -m scripts.peers.child time SIZE,... WORKLOAD SEED

The result is ``result.json`` in the working folder. Exit status 1 if the finder raised or is not
installed, which the result says.
"""

from __future__ import annotations

import json
import random
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.peers.workloads import make_workload

_RESULT = Path("result.json")


def main() -> int:
    """Run and write the result."""
    task, what, name, seed, *steps_path = sys.argv[1:]
    warnings.simplefilter("ignore")
    random.seed(int(seed))
    np.random.seed(int(seed))
    torch.manual_seed(int(seed))
    if task != "search":
        return time_sizes(task, what, name)
    result: dict[str, Any] = {}
    try:
        result = search(what, name, *steps_path)
    except ModuleNotFoundError as error:
        result = {"outcome": "not installed", "message": str(error)}
    except Exception as error:
        result = {"message": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    finally:
        _RESULT.write_text(json.dumps(result))
    return 1 if "message" in result else 0


def search(finder: str, name: str, steps_path: str) -> dict[str, Any]:
    """The answer, the time that it took, and what was left changed."""
    from scripts.peers.finders import PREPARE
    from scripts.peers.recorder import Recorder, digest_generators, digest_weights

    workload = make_workload(name)
    searching = PREPARE[finder](workload)
    Recorder(steps_path).watch(workload)
    weights, generators = digest_weights(workload), digest_generators()
    begin = time.perf_counter()
    answer = searching()
    search_s = time.perf_counter() - begin
    return {
        "batch_size": answer.batch_size,
        "details": answer.details,
        "search_s": search_s,
        "weights_unchanged": digest_weights(workload) == weights,
        "generators_unchanged": digest_generators() == generators,
    }


def time_sizes(task: str, sizes: str, name: str) -> int:
    """Time sizes in forks of this process, which starts no threads itself.

    It holds what a training process holds that asked autobatch for its size.
    """
    import autobatch.finder
    import autobatch.training  # noqa: F401
    from scripts.peers.oracle import survey, time_round

    torch.set_num_threads(1)
    run = {"survey": survey, "time": time_round}[task]
    listed = [int(size) for size in sizes.split(",") if size]
    _RESULT.write_text(json.dumps(run(make_workload(name), listed)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""One finder, or the oracle, on one workload, in a process of its own; started by the benchmark.

    python -m scripts.peers.child search FINDER WORKLOAD RESULT.json SEED STEPS.txt
    python -m scripts.peers.child survey SIZE,... WORKLOAD RESULT.json SEED
    python -m scripts.peers.child time SIZE,... WORKLOAD RESULT.json SEED

Exit status 3 if the finder is not installed, 1 if it raised, and the result has the message.
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

NOT_INSTALLED = 3


def main() -> int:
    """Run and write the result."""
    task, what, name, result_path, seed, *steps_path = sys.argv[1:]
    warnings.simplefilter("ignore")
    random.seed(int(seed))
    np.random.seed(int(seed))
    torch.manual_seed(int(seed))
    if task != "search":
        return time_sizes(task, what, name, Path(result_path))
    result: dict[str, Any] = {}
    try:
        result = search(what, name, *steps_path)
    except ModuleNotFoundError as error:
        result = {"message": str(error)}
        return NOT_INSTALLED
    except Exception as error:
        result = {"message": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        return 1
    finally:
        Path(result_path).write_text(json.dumps(result))
    return 0


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


def time_sizes(task: str, sizes: str, name: str, result_path: Path) -> int:
    """Time sizes in forks of this process, which starts no threads itself.

    It holds what a training process holds that asked autobatch for its size.
    """
    import autobatch.finder
    import autobatch.training  # noqa: F401
    from scripts.peers.oracle import survey, time_round

    torch.set_num_threads(1)
    run = {"survey": survey, "time": time_round}[task]
    listed = [int(size) for size in sizes.split(",") if size]
    result_path.write_text(json.dumps(run(make_workload(name), listed)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

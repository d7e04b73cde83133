"""Times an all-reduce between processes of this machine: gloo on its CPU, NCCL on its GPUs.

``torchrun`` starts the processes; each runs this file as a module.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import timedelta

from autobatch.check.judge.all_reduce import AllReduce
from autobatch.errors import cause_of
from autobatch.probe.worker.process import kill_with_descendants
from autobatch.records import Unknown

_BACKENDS = {"cpu": "gloo", "cuda": "nccl", "xpu": "xccl"}
# Long enough that it is the bandwidth that counts, and not the latency.
_NUM_BYTES = 2**26
_NUM_WARMUPS, _NUM_TIMES = 3, 20
_TIMEOUT_S = 120.0


def measure_all_reduce(
    kind: str, num_ranks: int, timeout_s: float = _TIMEOUT_S
) -> AllReduce | Unknown:
    """Time an all-reduce.

    Args:
        kind: Of the devices: ``cpu``, ``cuda``.
        num_ranks: How many processes; on GPUs each has one.
        timeout_s: For all of it, starting them included.

    Returns:
        The times, or why there are none.
    """
    if kind not in _BACKENDS:
        return Unknown(reason=f"there is no backend for {kind}")
    if num_ranks < 2:
        return Unknown(reason=f"one device of the kind {kind} has none to exchange with")
    process = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
         str(num_ranks), "-m", "autobatch.check.all_reduce", kind],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={"OMP_NUM_THREADS": "1", **os.environ},
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return Unknown(reason=f"it took longer than {timeout_s:g} s")
    finally:
        if process.poll() is None:
            kill_with_descendants(process)
            process.communicate()
    told = [json.loads(line) for line in output.splitlines() if line.startswith(("[", '"'))]
    errors = [each for each in told if isinstance(each, str)]
    times = next((each for each in told if isinstance(each, list)), None)
    if times is None:
        status = f"torchrun ended with exit status {process.returncode}"
        return Unknown(reason=next(iter(errors), status))
    return AllReduce(
        backend=_BACKENDS[kind], num_ranks=num_ranks, num_bytes=_NUM_BYTES, times_s=tuple(times)
    )


def take_part(kind: str) -> None:
    """Be one of the processes; the first prints the times, or what was raised."""
    import torch
    import torch.distributed as dist

    rank = int(os.environ["LOCAL_RANK"])
    device = torch.device("cpu") if kind == "cpu" else torch.device(kind, rank)
    if kind != "cpu":
        torch.accelerator.set_device_index(rank)
    dist.init_process_group(_BACKENDS[kind], timeout=timedelta(seconds=_TIMEOUT_S))
    tensor = torch.zeros(_NUM_BYTES // 4, device=device)
    times = torch.zeros(_NUM_TIMES, dtype=torch.float64, device=device)
    for number in range(-_NUM_WARMUPS, _NUM_TIMES):
        dist.barrier()
        begin = time.perf_counter()
        dist.all_reduce(tensor)
        if kind != "cpu":
            torch.accelerator.synchronize()
        if number >= 0:
            times[number] = time.perf_counter() - begin
    dist.all_reduce(times, op=dist.ReduceOp.MAX)
    if rank == 0:
        print(json.dumps(times.tolist()), flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    try:
        take_part(sys.argv[1])
    except Exception as error:
        print(json.dumps(cause_of(error)), flush=True)
        sys.exit(1)

"""The memory that this process may take, enforced from the moment that PyTorch is there."""

from __future__ import annotations

import os
from typing import Any


def install(torch: Any, line: Any) -> None:
    """Report what is known of PyTorch here, and set the limits.

    Args:
        torch: The module.
        line: To autobatch, with the budget in its configuration.
    """
    line.introduce("torch", line.now(), str(torch.__version__), torch.get_num_threads())
    budget_bytes = line.config.get("budget_bytes")
    # CUDA maps far more address space than it uses.
    if budget_bytes and not os.path.exists("/dev/nvidiactl"):
        limit_data(budget_bytes)


def limit_data(budget_bytes: int) -> None:
    """Make allocations beyond a budget fail in this process, and in those that it starts.

    The kernel's limit counts private memory that was never touched too, so a tenth is added; what
    that lets through is held against the budget by autobatch.
    """
    import resource

    status = read_status_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = status["VmData"] + max(0, round(1.1 * budget_bytes) - status["VmRSS"])
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def read_status_bytes() -> dict[str, int]:
    """The memory lines of ``/proc/self/status`` in bytes."""
    with open("/proc/self/status") as file:
        parts = [line.partition(":") for line in file]
    return {name: int(text.split()[0]) * 1024 for name, _, text in parts if text.endswith(" kB\n")}

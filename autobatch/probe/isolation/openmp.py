"""Ending this thread's OpenMP threads, so that a forked child can start its own.

A process that has trained has a pool of OpenMP threads. A fork copies the record of the pool and
none of its threads, and with GNU's runtime (PyTorch's own on Linux) the first parallel region in
the child waits for them for ever: tried, it hangs. OpenMP 5.0 has ``omp_pause_resource_all``,
which ends the pool; tried, parent and child then both start a new one when they need it. LLVM's
and Intel's runtimes do as much by themselves when a process forks.

Source: OpenMP API 5.0, section 3.2.44; libgomp's ``gomp_pause_host``.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import torch

_PAUSE_SOFT = 1


def end_openmp_threads() -> bool:
    """End the calling thread's OpenMP threads.

    Returns:
        Whether a forked child can use PyTorch: not in a parallel region, with an older runtime,
        or where PyTorch has threads of another kind.
    """
    if "parallel backend: OpenMP" not in torch.__config__.parallel_info():
        return False
    return all(_pause(path) for path in _find_gnu_runtimes())


def _find_gnu_runtimes() -> set[str]:
    paths = set()
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.rpartition(" ")[2]
        if os.path.basename(path).startswith("libgomp"):
            paths.add(path)
    return paths


def _pause(path: str) -> bool:
    try:
        pause = ctypes.CDLL(path, mode=os.RTLD_NOLOAD | os.RTLD_LAZY).omp_pause_resource_all
    except (OSError, AttributeError):  # GCC has it from version 9
        return False
    return bool(pause(_PAUSE_SOFT) == 0)

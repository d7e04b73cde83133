"""Who holds a GPU's memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import psutil

from autobatch.devices.nvml.session import NvmlGpu
from autobatch.records import ProcessUse, Unknown

_ELSEWHERE = Unknown(reason="another container")
_GPU_FILES = ("/dev/nvidia", "/dev/nvhost", "/dev/nvmap", "/dev/dxg")
# Newer forms first; drivers before 510 have the second.
_LISTS = (
    ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2"),
    ("nvmlDeviceGetGraphicsRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v2"),
    ("nvmlDeviceGetMPSComputeRunningProcesses_v3", "nvmlDeviceGetMPSComputeRunningProcesses_v2"),
)


def read_process_bytes(gpu: NvmlGpu) -> dict[int, int | Unknown] | Unknown:
    """Bytes that each process holds, by the driver's number of the process.

    Inside a container the driver may count by the host's numbers, or show nobody.
    """
    answers = [gpu.ask_first(functions) for functions in _LISTS]
    if isinstance(answers[0], Unknown):
        return Unknown(reason=answers[0].reason)
    used: dict[int, int | Unknown] = {}
    for process in (each for answer in answers if isinstance(answer, list) for each in answer):
        used.setdefault(process.pid, _used_bytes(process))
    return used


def read_other_processes(
    gpu: NvmlGpu, name_of: Callable[[int], str | Unknown] | None = None
) -> tuple[ProcessUse, ...] | Unknown:
    """Other processes on a GPU, the largest first.

    Args:
        gpu: The GPU or slice.
        name_of: Names a process; ``name_process`` if left out.
    """
    used = read_process_bytes(gpu)
    if isinstance(used, Unknown):
        return used
    name = name_of or name_process
    processes = [
        ProcessUse(pid=pid, name=name(pid), used_bytes=num_bytes)
        for pid, num_bytes in used.items()
        if pid != os.getpid()
    ]
    return tuple(sorted(processes, key=_size, reverse=True))


def name_process(
    pid: int, open_files: Callable[[int], list[str] | None] | None = None
) -> str | Unknown:
    """Name of a process by the driver's number of it.

    A process with the number may be there and be another one, where the driver counts by the
    host's numbers: one that has no GPU open is not taken for the one that is meant.

    Args:
        pid: The number.
        open_files: Paths that a process has open, ``None`` where that cannot be read.
    """
    try:
        name = psutil.Process(pid).name()
    except psutil.AccessDenied:
        return Unknown(reason="no permission to see the process")
    except psutil.Error:
        return _ELSEWHERE
    paths = (open_files or _open_files)(pid)
    if paths is not None and not any(path.startswith(_GPU_FILES) for path in paths):
        return _ELSEWHERE
    return str(name)


def find_own_pid(before: object, after: object) -> int | None:
    """This process's number as the driver counts.

    Args:
        before: What ``read_process_bytes`` returned before this process opened the GPU.
        after: What it returned afterwards.

    Returns:
        Our own number if the driver lists it, else that of the one process that came in
        between; ``None`` if that is ambiguous.
    """
    if not isinstance(after, dict):
        return None
    if os.getpid() in after:
        return os.getpid()
    came = set(after) - set(before) if isinstance(before, dict) else set()
    return came.pop() if len(came) == 1 else None


def _used_bytes(process: Any) -> int | Unknown:
    # The binding has ``None`` where Windows' own memory manager keeps the accounts.
    if process.usedGpuMemory is None:
        return Unknown(reason="the driver does not count by process here")
    return int(process.usedGpuMemory)


def _size(process: ProcessUse) -> int:
    return process.used_bytes if isinstance(process.used_bytes, int) else -1


def _open_files(pid: int) -> list[str] | None:
    folder = f"/proc/{pid}/fd"
    paths = []
    try:
        for entry in os.scandir(folder):
            paths.append(os.readlink(entry.path))
    except OSError:
        return None
    return paths

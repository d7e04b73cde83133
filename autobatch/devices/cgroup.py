"""Memory limits and CPU quotas of Linux cgroups, versions 1 and 2, every ancestor's.

Formats: ``man 7 cgroups``, and the kernel's ``admin-guide/cgroup-v2``, ``cgroup-v1/memory`` and
``scheduler/sched-bwc`` pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_NO_LIMIT_BYTES = 2**60


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupLimit:
    """A limit in force on this process.

    Attributes:
        path: The cgroup's folder.
        name: What sets it: ``memory.max``, ``memory.high``, ``memory.limit_in_bytes``.
        limit_bytes: The most that its processes may hold together.
        used_bytes: What they hold now, less page cache that the kernel would drop first.
    """

    path: Path
    name: str
    limit_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CgroupQuota:
    """A limit on the CPU time of this process and those beside it.

    Attributes:
        path: The cgroup's folder.
        num_cores: Cores' worth of time that they may use together.
    """

    path: Path
    num_cores: float


class _Files(NamedTuple):
    limit: str
    used: str
    droppable_key: str


_V1 = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Files("memory.max", "memory.current", "inactive_file")
# Above this limit nothing is killed: the kernel throttles the group instead.
_V2_HIGH = _Files("memory.high", "memory.current", "inactive_file")


def read_cgroup_limits(proc: Path = Path("/proc/self")) -> tuple[CgroupLimit, ...]:
    """Read the memory limits of all cgroups above this process.

    Args:
        proc: This process's folder under ``/proc``; another one in tests.

    Returns:
        The limits, innermost first; empty where there are none or none can be read.
    """
    limits = []
    for folder in _cgroups(proc, "memory"):
        found = [_read(folder, files) for files in (_V2, _V2_HIGH)]
        for limit in found if any(found) else [_read(folder, _V1)]:
            if limit is not None and limit.limit_bytes < _NO_LIMIT_BYTES:
                limits.append(limit)
    return tuple(limits)


def read_cgroup_quotas(proc: Path = Path("/proc/self")) -> tuple[CgroupQuota, ...]:
    """Read the CPU quotas of all cgroups above this process.

    Args:
        proc: This process's folder under ``/proc``; another one in tests.

    Returns:
        The quotas, innermost first; empty where there are none or none can be read.
    """
    quotas = []
    for folder in _cgroups(proc, "cpu"):
        num_cores = _quota_v2(folder) or _quota_v1(folder)
        if num_cores is not None:
            quotas.append(CgroupQuota(path=folder, num_cores=num_cores))
    return tuple(quotas)


def _quota_v2(folder: Path) -> float | None:
    # "max 100000", or "150000 100000": microseconds of running in microseconds of time.
    fields = [field for line in _lines(folder / "cpu.max")[:1] for field in line.split()]
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    return int(fields[0]) / int(fields[1]) if int(fields[1]) else None


def _quota_v1(folder: Path) -> float | None:
    quota_us = _number(folder / "cpu.cfs_quota_us")  # -1, no number here, is no quota
    period_us = _number(folder / "cpu.cfs_period_us")
    return quota_us / period_us if quota_us and period_us else None


def _cgroups(proc: Path, controller: str) -> list[Path]:
    mounts = _mounts(proc, controller)
    folders: list[Path] = []
    for line in _lines(proc / "cgroup"):
        _, controllers, path = line.split(":", 2)
        kind = "cgroup2" if not controllers else "cgroup"
        if kind == "cgroup" and controller not in controllers.split(","):
            continue
        for root, mount_point in mounts.get(kind, []):
            folders += _with_ancestors(mount_point, root, path)
    return folders


def _mounts(proc: Path, controller: str) -> dict[str, list[tuple[str, Path]]]:
    mounts: dict[str, list[tuple[str, Path]]] = {}
    for line in _lines(proc / "mountinfo"):
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        controllers = options.split(" ")[-1].split(",")
        if kind == "cgroup2" or (kind == "cgroup" and controller in controllers):
            fields = before.split(" ")
            mounts.setdefault(kind, []).append((fields[3], Path(fields[4])))
    return mounts


def _with_ancestors(mount_point: Path, root: str, path: str) -> list[Path]:
    # Inside a container the mount shows a subtree: the process's path begins with its root,
    # or is already relative to it where the container has a cgroup namespace.
    relative = path[len(root) :] if root != "/" and path.startswith(root) else path
    folder = mount_point / relative.lstrip("/")
    folders = [folder, *folder.parents]
    return [each for each in folders if each.is_relative_to(mount_point) and each.is_dir()]


def _read(folder: Path, files: _Files) -> CgroupLimit | None:
    limit = _number(folder / files.limit)
    used = _number(folder / files.used)
    if limit is None or used is None:
        return None
    cache = _stat(folder, files.droppable_key)
    return CgroupLimit(
        path=folder, name=files.limit, limit_bytes=limit, used_bytes=max(0, used - cache)
    )


def _stat(folder: Path, key: str) -> int:
    for line in _lines(folder / "memory.stat"):
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def _number(file: Path) -> int | None:
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].isdigit() else None


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []

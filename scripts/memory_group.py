"""A cgroup with a memory limit, version 1 or 2, for as long as it is needed. Linux only."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_MOUNT = Path("/sys/fs/cgroup")
_V1_MOUNT = _MOUNT / "memory"


@dataclass(frozen=True, kw_only=True)
class MemoryGroup:
    """A cgroup.

    Attributes:
        folder: Its folder.
        description: What it is, in words.
    """

    folder: Path
    description: str

    def wrap(self, command: list[str]) -> list[str]:
        """A command that enters the group, then becomes ``command``."""
        procs = str(self.folder / "cgroup.procs")
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', procs, *command]

    def count_kills(self) -> int:
        """How often the kernel has killed a process here for want of memory."""
        for name in ("memory.events", "memory.oom_control"):
            with suppress(OSError):
                for line in (self.folder / name).read_text().splitlines():
                    key, _, value = line.partition(" ")
                    if key == "oom_kill":
                        return int(value)
        return 0


@contextmanager
def make_memory_group(limit_bytes: int) -> Iterator[MemoryGroup | None]:
    """Make a group, and remove it afterwards; ``None`` where this machine does not let us."""
    for parent, limit_name, swap_name in _find_parents():
        folder = parent / f"autobatch-check-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit_name).write_text(str(limit_bytes))
        except OSError:
            folder.rmdir()
            continue
        with suppress(OSError):  # where there is swap it must not help
            swap_bytes = 0 if swap_name == "memory.swap.max" else limit_bytes
            (folder / swap_name).write_text(str(swap_bytes))
        version = 2 if limit_name == "memory.max" else 1
        try:
            yield MemoryGroup(folder=folder, description=f"cgroup, version {version}")
        finally:
            _remove(folder)
        return
    yield None


def _find_parents() -> list[tuple[Path, str, str]]:
    """Folders in which a group might be made, and the names of its limits."""
    parents = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        own = path.lstrip("/")
        if "memory" in controllers.split(","):
            for folder in (_V1_MOUNT / own, _V1_MOUNT):
                parents.append((folder, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"))
        elif not controllers:
            for folder in (_MOUNT / own, (_MOUNT / own).parent, _MOUNT):
                parents.append((folder, "memory.max", "memory.swap.max"))
    return parents


def _remove(folder: Path) -> None:
    # What was killed in it takes a moment to leave.
    for _ in range(100):
        with suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)
    folder.rmdir()

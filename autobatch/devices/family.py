"""What the processes of a training hold besides the one that trains, from Linux' accounts.

    resident memory of the process that trains         the kernel tells it exactly
  + anonymous pages that only its workers have         each counted once
  + file pages of its workers                          by share
  + shared memory that it has not mapped               batches on their way

A forked worker shares every page with the process that it came from until one of the two writes
to it, so resident sizes count most pages several times over. A proportional set size (PSS)
divides each page by the number of processes that have it: the sum over a family is what the
family holds. From that sum is taken what the process that trains has in full already. If it was
itself forked, from a template that has loaded the workload, the template has shares in its pages
too, and those that the template alone has are nobody's here.

A batch that a loader worker has sent is in no process's memory until it is received: only an open
file descriptor holds it. Such segments are found among the open files, and counted by inode.

Sources: ``man 5 proc`` (``smaps``, ``fd``, ``children``), the kernel's
``Documentation/filesystems/proc.rst``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from autobatch.devices.linux import read_status_bytes
from autobatch.records import Unknown

_SHARED_MEMORY = Path("/dev/shm")
_SEGMENTS = (f"{_SHARED_MEMORY}/", "/memfd:")
_NO_SHARES = Unknown(reason="the kernel does not tell shares of shared pages (smaps_rollup)")
_BLOCK_BYTES = 512

_Inode = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PageShares:
    """A process's memory by its pages, in bytes.

    Attributes:
        anonymous: Pages of no file, in full.
        anonymous_share: The same, each divided by the number of processes that have it.
        file_share: Pages of files, divided alike.
        unshared: Pages that no other process has.
        shared_memory_share: Pages of shared memory, divided alike.
    """

    anonymous: int
    anonymous_share: int
    file_share: int
    unshared: int
    shared_memory_share: int


def read_loader_bytes(
    pid: int, *, template_pid: int | None = None, is_between_steps: bool = False
) -> int | Unknown:
    """What the descendants of a process hold besides it, batches on their way included.

    Args:
        pid: The process that trains.
        template_pid: The process that it was forked from, if that is alive and holds the same
            pages.
        is_between_steps: Whether the process is known not to be about to read a batch. What it
            has received and not read is then waiting there for its turn; at any other moment it
            may be the next batch, which will soon be in the process's resident memory, and
            would be counted in both.

    Returns:
        Bytes; 0 if it has no descendants.
    """
    workers = find_descendants(pid)
    if not workers:
        return 0
    try:
        own, template = _read_shares(pid), _read_shares(template_pid)
        shares = [each for each in map(_read_shares, workers) if each is not None]
        resident_shared = read_status_bytes(pid).get("RssShmem", 0)
    except PermissionError:
        return Unknown(reason="no permission to read the accounts of a loader worker")
    except (OSError, KeyError):
        return _NO_SHARES
    own_segments = _open_segments(pid) | _named_segments((pid, *workers))
    segments_bytes = _count_segments(own_segments, workers)
    if is_between_steps:
        segments_bytes += max(0, sum(own_segments.values()) - resident_shared)
    return _count_pages(own, template, shares) + segments_bytes


def find_descendants(pid: int) -> list[int]:
    """Every process that a process has started, and those that these have."""
    found: list[int] = []
    for each in _children(pid):
        found += [each, *find_descendants(each)]
    return found


def _count_pages(
    own: PageShares | None, template: PageShares | None, workers: list[PageShares]
) -> int:
    anonymous = sum(each.anonymous_share for each in workers)
    if own is not None:
        anonymous -= own.anonymous - own.anonymous_share
    if template is not None:
        anonymous += max(0, template.anonymous_share - template.unshared)
    # The processes are read one after the other: the sum may be off, what is a worker's own is not.
    least = sum(max(0, each.unshared - each.shared_memory_share) for each in workers)
    return max(anonymous, least) + sum(each.file_share for each in workers)


def _count_segments(own: dict[_Inode, int], workers: Iterable[int]) -> int:
    """Shared memory that workers have open and the process that trains has not."""
    theirs: dict[_Inode, int] = {}
    for worker in workers:
        theirs |= _open_segments(worker)
    return sum(size for inode, size in theirs.items() if inode not in own)


def _read_shares(pid: int | None) -> PageShares | None:
    """Shares of a process; ``None`` if it is gone."""
    if pid is None:
        return None
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except ProcessLookupError:
        return None
    except FileNotFoundError:
        if not Path(f"/proc/{pid}").exists():
            return None
        raise
    if not lines:  # a process that has ended and waits to be collected has no pages
        return None
    fields = (line.partition(":") for line in lines)
    sizes = {name: int(size.split()[0]) * 1024 for name, _, size in fields}
    return PageShares(
        anonymous=sizes["Anonymous"],
        anonymous_share=sizes["Pss_Anon"],
        file_share=sizes["Pss_File"],
        unshared=sizes["Private_Dirty"],
        shared_memory_share=sizes["Pss_Shmem"],
    )


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
                yield from map(int, text.split())


def _open_segments(pid: int) -> dict[_Inode, int]:
    """Bytes of the shared memory segments that a process has open."""
    segments = {}
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                if os.readlink(entry.path).startswith(_SEGMENTS):
                    status = os.stat(entry.path)
                    segments[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK_BYTES
    return segments


def _named_segments(pids: Iterable[int]) -> dict[_Inode, int]:
    """Segments with a name, which PyTorch's sharing strategy ``file_system`` makes."""
    starts = tuple(f"torch_{pid}_" for pid in pids)
    segments = {}
    with suppress(OSError):
        for entry in os.scandir(_SHARED_MEMORY):
            if entry.name.startswith(starts):
                with suppress(OSError):
                    status = entry.stat()
                    segments[status.st_dev, status.st_ino] = status.st_blocks * _BLOCK_BYTES
    return segments

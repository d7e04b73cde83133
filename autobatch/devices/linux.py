"""What the Linux kernel tells and enforces about one process's memory.

Sources: ``man 5 proc`` (``clear_refs``, ``status``), ``man 2 setrlimit``,
``man 3 malloc_trim``.
"""

from __future__ import annotations

import ctypes
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def read_status_bytes(pid: int | str = "self") -> dict[str, int]:
    """The memory lines of ``/proc/PID/status``, such as ``VmRSS`` and ``VmHWM``, in bytes."""
    status = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            status[name] = int(value.split()[0]) * 1024
    return status


def reset_peak() -> bool:
    """Make ``VmHWM`` begin again at the present use; say whether the kernel let us."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def return_freed_memory() -> None:
    """Give memory that malloc keeps for later back to the kernel."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, musl does not
    if trim is not None:
        trim(0)


@contextmanager
def data_limit(growth_bytes: int) -> Iterator[bool]:
    """Let this process's private memory grow by so much and no further.

    Beyond it an allocation fails as it would with the machine's memory exhausted, and the
    kernel's out-of-memory killer is not woken.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = read_status_bytes()["VmData"] + max(0, growth_bytes)
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield True
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def prefer_as_oom_victim() -> None:
    """Ask the kernel to kill this process before any other when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def die_with_parent() -> None:
    """Have the kernel end this process when the thread that started it ends."""
    pr_set_pdeathsig, sigkill = 1, 9
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, sigkill)


def find_resident_file_pages() -> list[int]:
    """Addresses of the file-backed pages (libraries, mostly) that this process has in memory.

    A forked child inherits the mappings but not these pages; ``touch`` brings them in, so that
    the child's resident memory is what it would be had it loaded the libraries itself. Empty
    where the kernel does not tell.
    """
    addresses: list[int] = []
    with suppress(OSError):  # sandboxes such as gVisor have no pagemap
        _add_resident_file_pages(addresses)
    return addresses


def _add_resident_file_pages(addresses: list[int]) -> None:
    page_size = resource.getpagesize()
    with open("/proc/self/maps") as maps, open("/proc/self/pagemap", "rb") as pagemap:
        for line in maps:
            fields = line.split(maxsplit=5)
            if len(fields) < 6 or not fields[5].startswith("/") or fields[1][0] != "r":
                continue
            start, end = (int(bound, 16) for bound in fields[0].split("-"))
            pagemap.seek(start // page_size * 8)
            entries = memoryview(pagemap.read((end - start) // page_size * 8)).cast("Q")
            addresses += (
                start + index * page_size
                for index, entry in enumerate(entries)
                if entry & _PRESENT and entry & _FILE_BACKED
            )


_PRESENT = 1 << 63
_FILE_BACKED = 1 << 61


def touch(addresses: list[int]) -> None:
    """Read one byte at each address of this process's memory."""
    for address in addresses:
        ctypes.c_byte.from_address(address).value  # noqa: B018 - the read is the purpose

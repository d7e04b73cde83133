"""What the Linux kernel tells and enforces, tried on this very process and on others."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("needs the Linux kernel", allow_module_level=True)

import mmap
import os
import resource
from pathlib import Path

import torch

from autobatch.devices import linux

MIB = 2**20


def test_status_is_in_bytes() -> None:
    status = linux.read_status_bytes()
    pages_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
    assert status["VmRSS"] == pytest.approx(pages_bytes, rel=0.05)
    assert status["VmHWM"] >= 0.95 * status["VmRSS"]
    assert status["VmSize"] > status["VmData"] > 0


def test_the_status_of_another_process_can_be_read() -> None:
    assert linux.read_status_bytes(os.getppid())["VmRSS"] > 0


def test_the_high_water_mark_follows_an_allocation_and_a_reset(
    run_python: Callable[[str], str],
) -> None:
    printed = run_python(
        """
        from autobatch.devices import linux
        def peak(): return linux.read_status_bytes()["VmHWM"]
        assert linux.reset_peak()
        start = peak()
        block = bytearray(200 * 2**20)
        with_block = peak()
        del block
        after = peak()
        assert linux.reset_peak()
        print(with_block - start, after - with_block, peak() - start)
        """
    )
    grown, lost, left = (int(figure) / MIB for figure in printed.split())
    assert 199 < grown < 210
    assert lost > -1  # what is freed stays in the peak; the kernel counts in batches of pages
    assert left < 10


def test_beyond_the_data_limit_torch_raises_and_recovers(
    run_python: Callable[[str], str],
) -> None:
    printed = run_python(
        """
        import torch
        from autobatch.devices import linux
        torch.zeros(2**20).add_(1)  # threads are there before the limit is
        with linux.data_limit(64 * 2**20) as is_enforced:
            assert is_enforced
            torch.ones(32 * 2**18)
            try:
                torch.empty(128 * 2**18)
            except RuntimeError as error:
                print(error)
            torch.ones(32 * 2**18)
        torch.ones(128 * 2**18)
        """
    )
    assert "DefaultCPUAllocator: can't allocate memory: you tried to allocate 134217728" in printed


def test_the_data_limit_is_put_back_after_an_error() -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with pytest.raises(KeyError), linux.data_limit(2**30):
        raise KeyError
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


def test_the_data_limit_never_raises_the_limit_that_was_there(
    run_python: Callable[[str], str],
) -> None:
    printed = run_python(
        """
        import resource
        from autobatch.devices import linux
        own = linux.read_status_bytes()["VmData"] + 100 * 2**20
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (own, hard))
        with linux.data_limit(2**40):
            print(resource.getrlimit(resource.RLIMIT_DATA)[0] <= own)
        print(resource.getrlimit(resource.RLIMIT_DATA) == (own, hard))
        """
    )
    assert printed.split() == ["True", "True"]


def test_a_growth_below_zero_allows_nothing_more(run_python: Callable[[str], str]) -> None:
    printed = run_python(
        """
        from autobatch.devices import linux
        with linux.data_limit(-2**30):
            try:
                bytearray(64 * 2**20)
            except MemoryError:
                print("refused")
        """
    )
    assert printed == "refused"


def test_freed_memory_goes_back_to_the_kernel(run_python: Callable[[str], str]) -> None:
    printed = run_python(
        """
        from autobatch.devices import linux
        blocks = [bytearray(64 * 2**10) for _ in range(2000)]  # below malloc's mmap threshold
        kept = blocks[-1]
        full = linux.read_status_bytes()["VmRSS"]
        del blocks
        linux.return_freed_memory()
        print(full - linux.read_status_bytes()["VmRSS"])
        """
    )
    assert int(printed) > 100 * MIB


def test_touching_brings_pages_in(tmp_path: Any) -> None:
    file = tmp_path / "pages"
    file.write_bytes(b"x" * 64 * MIB)
    with open(file, "r+b") as handle, mmap.mmap(handle.fileno(), 0) as pages:
        view = torch.frombuffer(pages, dtype=torch.uint8)
        addresses = range(view.data_ptr(), view.data_ptr() + 64 * MIB, mmap.PAGESIZE)
        pages.madvise(mmap.MADV_DONTNEED)
        before = linux.read_status_bytes()["VmRSS"]
        linux.touch(list(addresses))
        grown = linux.read_status_bytes()["VmRSS"] - before
        del view
    assert grown > 60 * MIB


def test_resident_file_pages_are_those_that_were_touched(tmp_path: Any) -> None:
    file = tmp_path / "pages"
    file.write_bytes(b"x" * 4 * MIB)
    with open(file, "r+b") as handle, mmap.mmap(handle.fileno(), 0) as pages:
        view = torch.frombuffer(pages, dtype=torch.uint8)
        start, end = view.data_ptr(), view.data_ptr() + 4 * MIB

        def count() -> int:
            return sum(start <= page < end for page in linux.find_resident_file_pages())

        view.sum()
        assert count() == 4 * MIB // mmap.PAGESIZE
        del view
    assert count() == 0


def test_resident_file_pages_are_mostly_libraries() -> None:
    resident = linux.find_resident_file_pages()
    assert len(resident) * mmap.PAGESIZE > 20 * MIB  # of PyTorch alone
    assert len(set(resident)) == len(resident)
    linux.touch(resident)


def test_a_process_can_ask_to_be_killed_first(run_python: Callable[[str], str]) -> None:
    printed = run_python(
        """
        from autobatch.devices import linux
        linux.prefer_as_oom_victim()
        print(open("/proc/self/oom_score_adj").read())
        """
    )
    assert printed == "1000"


def test_a_process_ends_with_its_parent(run_python: Callable[[str], str]) -> None:
    printed = run_python(
        """
        import os, signal, time
        reader, writer = os.pipe()
        if (middle := os.fork()) == 0:
            if os.fork() == 0:
                from autobatch.devices import linux
                linux.die_with_parent()
                os.write(writer, b"ready")
                time.sleep(600)
            time.sleep(600)
        os.close(writer)
        assert os.read(reader, 5) == b"ready"
        os.kill(middle, signal.SIGKILL)
        print(repr(os.read(reader, 1)))  # the end of the pipe: nobody is left to write
        """
    )
    assert printed == "b''"

"""What forked workers hold besides the process that they came from: real processes, real pages."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

if sys.platform != "linux":
    pytest.skip("reads /proc", allow_module_level=True)

MIB = 2**20

# A process with workers: each line of ``do`` runs in a forked worker, which then waits.
PRELUDE = """
import mmap, os, signal, sys, time
from autobatch.devices.family import find_descendants, read_loader_bytes
from autobatch.devices.linux import read_status_bytes
MIB = 2**20

def fill(size):
    return bytearray(os.urandom(4096) * (size // 4096))

def worker(do):
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        held = do()
        os.write(writer, b"x")
        time.sleep(60)
        os._exit(0)
    os.read(reader, 1)
    os.close(reader), os.close(writer)
    return pid

def segment(size):
    fd = os.memfd_create("batch")
    os.ftruncate(fd, size)
    with mmap.mmap(fd, size) as view:
        view.write(b"x" * size)
    return fd

def end(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

me = os.getpid()
"""


@pytest.fixture
def mebibytes(run_python: Callable[[str], str]) -> Callable[[str], list[float]]:
    """Run code after the prelude; the numbers that it prints, in MiB."""

    def run(code: str) -> list[float]:
        import textwrap

        printed = run_python(PRELUDE + textwrap.dedent(code))
        return [float(each) / MIB for each in printed.split()]

    return run


def test_without_workers_nothing_is_held(mebibytes: Callable[[str], list[float]]) -> None:
    assert mebibytes("held = fill(64 * MIB); print(read_loader_bytes(me))") == [0]


def test_what_a_worker_made_is_its_own(mebibytes: Callable[[str], list[float]]) -> None:
    code = """
    pids = [worker(lambda: fill(100 * MIB)), worker(lambda: fill(50 * MIB))]
    print(read_loader_bytes(me))
    end(*pids)
    print(read_loader_bytes(me))
    """
    assert mebibytes(code) == [pytest.approx(150, abs=25), 0]


def test_pages_that_workers_share_with_the_one_that_trains_are_counted_once(
    mebibytes: Callable[[str], list[float]],
) -> None:
    code = """
    data = fill(200 * MIB)
    pids = [worker(lambda: sum(data[::4096])) for _ in range(3)]
    print(read_loader_bytes(me), sum(read_status_bytes(pid)["VmRSS"] for pid in pids))
    end(*pids)
    """
    shared, resident = mebibytes(code)
    assert shared < 40
    assert resident > 600  # what resident sizes would have counted on top


def test_pages_that_the_one_that_trains_wrote_to_are_kept_by_the_workers_once(
    mebibytes: Callable[[str], list[float]],
) -> None:
    code = """
    weights = fill(200 * MIB)
    pids = [worker(lambda: None) for _ in range(3)]
    for offset in range(0, len(weights), 4096):
        weights[offset] = 1
    print(read_loader_bytes(me))
    end(*pids)
    """
    assert mebibytes(code) == [pytest.approx(200, abs=30)]


def test_a_template_has_shares_and_pages_of_its_own_that_do_not_count(
    mebibytes: Callable[[str], list[float]],
) -> None:
    code = """
    data, reader_writer = fill(200 * MIB), os.pipe()
    trial = os.fork()
    if trial == 0:
        pids = [worker(lambda: fill(50 * MIB)) for _ in range(2)]
        os.write(reader_writer[1], f"{read_loader_bytes(os.getpid(), template_pid=me)}".encode())
        time.sleep(60)
    print(os.read(reader_writer[0], 20).decode())
    alone = fill(100 * MIB)  # the template's
    print(read_loader_bytes(trial, template_pid=me))
    for pid in find_descendants(trial):
        os.kill(pid, signal.SIGKILL)
    end(trial)
    """
    assert mebibytes(code) == [pytest.approx(100, abs=25)] * 2


def test_a_segment_that_only_an_open_file_holds_is_counted_once(
    mebibytes: Callable[[str], list[float]],
) -> None:
    code = """
    def send():
        fd = segment(80 * MIB)
        os.dup(fd)
        return fd
    pid = worker(send)
    print(read_loader_bytes(me))
    end(pid)
    """
    assert mebibytes(code) == [pytest.approx(80, abs=15)]


def test_a_segment_that_is_in_resident_memory_already_is_not_counted_again(
    mebibytes: Callable[[str], list[float]],
) -> None:
    code = """
    fd = segment(80 * MIB)
    pid = worker(lambda: None)
    # Received, and not yet read: it waits, or is about to be read.
    print(read_loader_bytes(me, is_between_steps=True), read_loader_bytes(me))
    view = mmap.mmap(fd, 80 * MIB)
    total = sum(view[::4096])
    print(read_loader_bytes(me, is_between_steps=True), read_status_bytes()["RssShmem"])
    end(pid)
    """
    waiting, about_to_be_read, read, resident = mebibytes(code)
    assert waiting == pytest.approx(80, abs=15)
    assert about_to_be_read < 15
    assert read < 15
    assert resident == pytest.approx(80, abs=5)


def test_workers_of_workers_are_descendants_and_the_dead_are_none_to_ask(
    mebibytes: Callable[[str], list[float]],
) -> None:
    code = """
    def nest():
        worker(lambda: fill(60 * MIB))
    outer = worker(nest)
    print(len(find_descendants(me)) * MIB, read_loader_bytes(me))
    inner = find_descendants(outer)[0]
    os.kill(inner, signal.SIGKILL)   # a zombie now: its parent sleeps
    time.sleep(0.2)
    print(read_loader_bytes(me))
    end(outer)
    print(read_loader_bytes(2**22 + 1))
    """
    count, held, left, nobody = mebibytes(code)
    assert (count, nobody) == (2, 0)
    assert held == pytest.approx(60, abs=20)
    assert left < 20

"""Work in a forked child, and every way in which the child may end."""

from __future__ import annotations

import sys
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("forks, and reads /proc", allow_module_level=True)

import ctypes
import faulthandler
import mmap
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from autobatch.devices import linux
from autobatch.devices.meter import ProcessMeter
from autobatch.probe.isolation.child import ChildDied, run_in_child

MIB = 2**20

pytestmark = pytest.mark.usefixtures("no_child_left")


def _die(signal_number: int) -> None:
    faulthandler.disable()  # pytest's own report of it would look like a failure
    os.kill(os.getpid(), signal_number)


def _raise(error: BaseException) -> None:
    raise error


def test_the_result_comes_back() -> None:
    assert run_in_child(lambda: {"pid": 1, "items": [1, None, "text"]}) == {
        "pid": 1,
        "items": [1, None, "text"],
    }


def test_the_work_is_done_in_another_process_with_this_ones_objects() -> None:
    things = [1, 2]
    pid, seen = run_in_child(lambda: (os.getpid(), [*things, things.append(3)]))
    assert pid != os.getpid()
    assert seen == [1, 2, None]
    assert things == [1, 2]


def test_none_is_a_result() -> None:
    assert run_in_child(lambda: None) is None


def test_a_result_larger_than_a_pipe_comes_back_whole() -> None:
    payload = os.urandom(8 * MIB)
    assert run_in_child(lambda: payload) == payload


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_a_signal_is_the_exit_code(number: int) -> None:
    death = run_in_child(lambda: _die(number))
    assert isinstance(death, ChildDied)
    assert death.exit_code == -number
    assert not death.was_over_budget


def test_a_segmentation_fault_is_survived() -> None:
    def work() -> None:
        faulthandler.disable()
        ctypes.string_at(0)

    death = run_in_child(work)
    assert death.exit_code == -signal.SIGSEGV


@pytest.mark.parametrize("code", [0, 3])
def test_a_child_that_leaves_without_a_result_is_dead(code: int) -> None:
    death = run_in_child(lambda: os._exit(code))
    assert isinstance(death, ChildDied)
    assert death.exit_code == code


@pytest.mark.parametrize(
    "error", [ValueError("x"), SystemExit(0), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
def test_no_exception_escapes_as_a_second_copy_of_this_process(error: BaseException) -> None:
    death = run_in_child(lambda: _raise(error))
    assert isinstance(death, ChildDied)
    assert death.exit_code == 1


def test_a_result_that_cannot_be_pickled_is_no_result() -> None:
    assert isinstance(run_in_child(lambda: lambda: None), ChildDied)


def _grow(to_bytes: int) -> str:
    shared = mmap.mmap(-1, to_bytes)  # shared: no limit on private memory counts it
    for offset in range(0, to_bytes, mmap.PAGESIZE):
        shared[offset] = 1
    time.sleep(60)
    return "not ended"


def test_a_child_that_grows_beyond_its_budget_is_ended() -> None:
    budget_bytes = linux.read_status_bytes()["VmRSS"] + 64 * MIB
    # Of what this process holds, pages of libraries among it, a child takes over only a part.
    death = run_in_child(lambda: _grow(budget_bytes + 64 * MIB), budget_bytes=budget_bytes)
    assert isinstance(death, ChildDied)
    assert death.was_over_budget
    assert death.exit_code == -signal.SIGKILL
    assert death.peak_bytes is not None
    assert death.peak_bytes > budget_bytes


def _start_a_child_that_holds(num_bytes: int) -> str:
    if os.fork() == 0:
        held = bytearray(b"x") * num_bytes
        time.sleep(60)
        os._exit(len(held))
    time.sleep(60)
    return "not ended"


def test_what_its_children_hold_counts_against_a_childs_budget() -> None:
    budget_bytes = linux.read_status_bytes()["VmRSS"] + 64 * MIB
    death = run_in_child(lambda: _start_a_child_that_holds(budget_bytes), budget_bytes=budget_bytes)
    assert isinstance(death, ChildDied)
    assert death.was_over_budget
    assert death.peak_bytes is not None
    assert death.peak_bytes > budget_bytes


def test_shared_memory_is_what_the_limit_on_private_memory_does_not_see() -> None:
    def grow_under_limit() -> bool:
        with linux.data_limit(16 * MIB):
            shared = mmap.mmap(-1, 128 * MIB)
            shared.write(b"x" * MIB)
            return True

    assert run_in_child(grow_under_limit) is True


def test_a_child_within_its_budget_is_left_alone() -> None:
    budget_bytes = linux.read_status_bytes()["VmRSS"] + 512 * MIB
    work = lambda: time.sleep(0.2) or "done"  # noqa: E731
    assert run_in_child(work, budget_bytes=budget_bytes) == "done"


def test_a_child_is_looked_at_once_its_time_is_up_before_it_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begin, timeout_s, kill = time.monotonic(), 0.5, os.kill
    looked_s: list[float] = []
    last_before_its_end_s: list[float] = []

    def look(pid: int) -> None:
        looked_s.append(time.monotonic() - begin)
        if len(looked_s) == 1:  # as if this process had to wait for a core
            time.sleep(2 * timeout_s)

    def note(pid: int, number: int) -> None:
        last_before_its_end_s.append(looked_s[-1])
        kill(pid, number)

    monkeypatch.setattr(os, "kill", note)
    died = run_in_child(lambda: time.sleep(60), timeout_s=timeout_s, look=look)
    assert died.was_too_slow
    assert last_before_its_end_s[0] > timeout_s


def test_a_child_is_the_first_to_be_killed_when_memory_runs_out() -> None:
    def read() -> str:
        with open("/proc/self/oom_score_adj") as file:
            return file.read().strip()

    before = read()
    assert run_in_child(read) == "1000"
    assert read() == before


def _leave_a_child(note: Path, then: Callable[[], Any]) -> Any:
    # What a DataLoader's worker is to a trial that dies: it holds the pipe open.
    pid = os.fork()
    if pid == 0:
        time.sleep(30)
        os._exit(0)
    note.write_text(str(pid))
    return then()


def test_after_a_result_a_grandchild_that_lives_on_is_not_waited_for(
    run_watched: Any, grandchild: Path
) -> None:
    result = run_watched(lambda: run_in_child(lambda: _leave_a_child(grandchild, lambda: "done")))
    assert result == "done"


def test_after_a_death_a_grandchild_that_lives_on_is_not_waited_for(
    run_watched: Any, grandchild: Path
) -> None:
    def work() -> Any:
        return _leave_a_child(grandchild, lambda: _die(signal.SIGKILL))

    assert run_watched(lambda: run_in_child(work)).exit_code == -signal.SIGKILL


def test_an_interrupt_of_this_process_ends_the_child() -> None:
    children: list[int] = []

    def interrupt_at_the_first_look(pid: int) -> ProcessMeter:
        children.append(pid)
        return ProcessMeter(lambda: os.kill(os.getpid(), signal.SIGINT), lambda: 0)

    # From Python code of this process: one that comes while it is still forking is lost.
    with pytest.raises(KeyboardInterrupt):
        run_in_child(lambda: time.sleep(60), meter=interrupt_at_the_first_look)
    with pytest.raises(ProcessLookupError):
        os.kill(children[0], 0)

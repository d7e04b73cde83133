"""How fast processes exchange: met, not met or open, by an interval of the measured rates."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from autobatch.check import all_reduce, hardware
from autobatch.check.all_reduce import measure_all_reduce
from autobatch.check.hardware import Hardware
from autobatch.check.judge.all_reduce import AllReduce, judge_all_reduce
from autobatch.check.records import HardwareLimits
from autobatch.records import Status, Unknown

GIB = 2**30


def seen(*times_s: float, num_ranks: int = 2) -> AllReduce:
    return AllReduce(backend="gloo", num_ranks=num_ranks, num_bytes=GIB, times_s=times_s)


def test_the_bandwidth_is_that_of_each_link_whatever_the_number_of_ranks() -> None:
    # Each of n ranks sends and receives (n - 1) / n of the tensor twice.
    assert seen(0.5).rates_bytes_per_s == [2 * GIB]
    assert seen(0.5, num_ranks=4).rates_bytes_per_s == [3 * GIB]


@pytest.mark.parametrize(
    ("limit_gib", "status"),
    [(0.9, Status.MET), (1.0, Status.MET), (1.04, Status.INCONCLUSIVE), (1.2, Status.NOT_MET)],
)
def test_a_limit_is_held_against_the_interval_of_the_median(
    limit_gib: float, status: Status
) -> None:
    # Rates of 0.95 to 1.14 GiB/s: the interval is the 6th to the 15th, 1.00 to 1.09.
    times_s = [1 / (0.95 + 0.01 * number) for number in range(20)]
    verdict = judge_all_reduce(limit_gib * GIB, seen(*times_s))
    assert verdict.status is status
    assert verdict.low == pytest.approx(1.00 * GIB)
    assert verdict.high == pytest.approx(1.09 * GIB)
    assert "1.0 GiB between 2 processes by gloo" in verdict.reason
    assert ("holds the limit" in verdict.reason) is (status is Status.INCONCLUSIVE)


def test_one_slow_exchange_does_not_decide() -> None:
    assert judge_all_reduce(0.9 * GIB, seen(*[1.0] * 19, 60.0)).status is Status.MET


@pytest.mark.parametrize(
    ("kind", "num_ranks", "words"),
    [("mps", 2, "no backend for mps"), ("cuda", 1, "none to exchange with")],
)
def test_what_cannot_exchange_is_inconclusive(kind: str, num_ranks: int, words: str) -> None:
    told = measure_all_reduce(kind, num_ranks)
    assert isinstance(told, Unknown)
    verdict = judge_all_reduce(GIB, told)
    assert verdict.status is Status.INCONCLUSIVE
    assert words in verdict.reason


@pytest.fixture
def launching(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has code of the test run in the place of ``torchrun``."""
    start = subprocess.Popen

    def launch(code: str) -> None:
        def open_process(command: list[str], **options: Any) -> Any:
            assert command[:5] == [
                sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"
            ]  # fmt: skip
            return start([sys.executable, "-c", code], **options)

        monkeypatch.setattr(all_reduce.subprocess, "Popen", open_process)

    return launch


def test_an_error_in_a_process_is_the_reason(launching: Any) -> None:
    launching("import sys; print('banner'); print('\"RuntimeError: no route\"'); sys.exit(1)")
    assert measure_all_reduce("cpu", 2) == Unknown(reason="RuntimeError: no route")
    launching("raise SystemExit(7)")
    assert "exit status 7" in str(measure_all_reduce("cpu", 2))


def test_processes_that_hang_are_ended_with_those_in_sessions_of_their_own(
    launching: Any, tmp_path: Any
) -> None:
    pid_file = tmp_path / "pid"
    launching(
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True)\n"
        f"open({str(pid_file)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)"
    )
    told = measure_all_reduce("cpu", 2, timeout_s=2.0)
    assert told == Unknown(reason="it took longer than 2 s")
    pid = int(pid_file.read_text())
    end = time.monotonic() + 5
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert pid != os.getpid()


@pytest.mark.parametrize(("asked", "expected"), [(1, 2), (4, 4)])
def test_two_processes_of_the_cpu_exchange_or_as_many_as_asked_for(
    asked: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def measure(kind: str, num_ranks: int) -> AllReduce:
        calls.append((kind, num_ranks))
        return seen(*[1.0] * 20)

    monkeypatch.setattr(hardware, "measure_all_reduce", measure)
    limits = HardwareLimits(all_reduce_min_bytes_per_s=2 * GIB)
    found = hardware.read_hardware("cpu", limits, asked)
    assert calls == [("cpu", expected)]
    assert [each.status for each in found.judge(limits)] == [Status.NOT_MET]
    hardware.read_hardware("cpu", HardwareLimits(min_cores=1), asked)
    assert len(calls) == 1, "not measured where nothing is required of it"


def test_each_process_needs_a_gpu_of_its_own() -> None:
    gpus: Any = tuple(type("Gpu", (), {"name": f"cuda:{number}"})() for number in range(2))
    told = hardware._exchange(gpus, 4)
    assert isinstance(told, Unknown)
    assert "4 processes need a device each, of 2" in told.reason
    assert Hardware(devices=(), num_usable_cores=1.0).all_reduce is None

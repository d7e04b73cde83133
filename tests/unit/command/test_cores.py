"""Cores that others keep busy, from the kernel's accounts."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from autobatch.command import cores
from autobatch.command.cores import OthersWatch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs /proc")


class Machine:
    """Accounts that the test writes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.busy_s = 0.0, 100.0
        self.used_s: dict[int, float] = {}
        device = SimpleNamespace(cpu_use=lambda: SimpleNamespace(machine_busy_s=self.busy_s))
        monkeypatch.setattr(cores, "CpuDevice", lambda: device)
        monkeypatch.setattr(cores, "_cpu_time_s", lambda pid: self.used_s.get(pid, 0.0))
        self.watch = OthersWatch(lambda: list(self.used_s), lambda: self.now_s)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_others_are_what_the_run_and_autobatch_have_not_used(machine: Machine) -> None:
    machine.used_s = {7: 3.0, 8: 1.0}
    machine.watch.begin()
    machine.now_s, machine.busy_s = 2.0, 103.5
    # One child has ended and left its account to the other; a third has begun.
    machine.used_s = {7: 4.5, 9: 0.5}
    assert machine.watch.read() == pytest.approx((3.5 - 1.0) / 2)


def test_nothing_is_said_of_a_moment_or_of_some_of_the_cores(machine: Machine) -> None:
    assert machine.watch.read() is None
    machine.watch.begin()
    machine.now_s = 0.05
    assert machine.watch.read() is None
    machine.busy_s = None  # type: ignore[assignment]
    machine.watch.begin()
    machine.now_s = 10.0
    assert machine.watch.read() is None


def test_the_account_of_a_process_has_what_its_children_left() -> None:
    assert cores._cpu_time_s(2**30) == 0.0  # there is none
    before_s = cores._cpu_time_s(os.getpid())
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    subprocess.run([sys.executable, "-S", "-c", busy], check=True)
    assert 0.25 < cores._cpu_time_s(os.getpid()) - before_s < 5

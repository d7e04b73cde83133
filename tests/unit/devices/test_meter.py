"""Looking at a process from outside: when, and what is kept of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from autobatch.devices.meter import ProcessMeter, meter_by_sampling, meter_process
from autobatch.records import Unknown

MIB = 2**20

HOLD = """
import os, sys, time
own = bytearray(os.urandom(4096) * (80 * 256))
if os.fork() == 0:
    theirs = bytearray(os.urandom(4096) * (60 * 256))
    print("ready", flush=True)
    sys.stdin.readline()
    os._exit(0)
sys.stdin.readline()
"""


class Readings:
    """Readings as they are set, and how often each was asked for."""

    def __init__(self) -> None:
        self.own: int | None = 100
        self.loader: int | Unknown = 0
        self.now_s = 0.0
        self.loader_costs_s = 0.0
        self.num_loader_reads = 0

    def read_own(self) -> int | None:
        return self.own

    def read_loader(self) -> int | Unknown:
        self.num_loader_reads += 1
        self.now_s += self.loader_costs_s
        return self.loader

    def clock(self) -> float:
        return self.now_s


@pytest.fixture
def readings() -> Readings:
    return Readings()


@pytest.fixture
def meter(readings: Readings) -> ProcessMeter:
    return ProcessMeter(readings.read_own, readings.read_loader, readings.clock)


def test_before_the_first_look_there_is_no_peak(meter: ProcessMeter) -> None:
    assert meter.peak_bytes is None


def test_the_highest_sum_is_kept(meter: ProcessMeter, readings: Readings) -> None:
    for own, loader in ((100, 10), (300, 50), (200, 90), (50, 5)):
        readings.own, readings.loader = own, loader
        readings.now_s += 1.0
        assert meter.look() == own + loader
    assert meter.peak_bytes == 350
    assert meter.peak_loader_bytes == 90


def test_a_process_that_is_gone_leaves_the_peak_as_it_is(
    meter: ProcessMeter, readings: Readings
) -> None:
    meter.look()
    readings.own = None
    assert meter.look() is None
    assert meter.peak_bytes == 100


def test_costly_looks_at_the_loader_are_far_between(
    meter: ProcessMeter, readings: Readings
) -> None:
    readings.loader_costs_s = 0.02
    while readings.now_s < 20.0:
        meter.look()
        readings.now_s += 0.05
    assert readings.num_loader_reads * readings.loader_costs_s <= 0.025 * readings.now_s
    assert readings.num_loader_reads > 10


def test_however_costly_a_loader_is_looked_at_every_few_seconds(
    meter: ProcessMeter, readings: Readings
) -> None:
    readings.loader_costs_s = 1.0
    while readings.now_s < 60.0:
        meter.look()
        readings.now_s += 0.05
    assert readings.num_loader_reads >= 60 / 3 - 1


def test_between_two_looks_at_the_loader_the_last_one_counts(
    meter: ProcessMeter, readings: Readings
) -> None:
    readings.loader, readings.loader_costs_s = 40, 1.0
    assert meter.look() == 140
    readings.own, readings.loader = 200, 0
    assert meter.look() == 240


def test_what_cannot_be_told_of_the_loader_is_told_as_such(
    meter: ProcessMeter, readings: Readings
) -> None:
    readings.loader = Unknown(reason="no permission")
    assert meter.look() == 100
    assert meter.peak_loader_bytes == Unknown(reason="no permission")


@pytest.fixture
def family() -> Iterator[int]:
    """A process that holds 80 MiB and has a child that made 60 MiB more."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    yield process.pid
    process.communicate("\n\n", timeout=60)


@pytest.mark.parametrize("make", [meter_process, meter_by_sampling])
def test_a_real_process_and_its_child_are_seen(family: int, make: type) -> None:
    meter = make(family)
    held_bytes = meter.look()
    assert 130 * MIB < held_bytes < 200 * MIB
    assert 50 * MIB < meter.peak_loader_bytes < 80 * MIB


@pytest.mark.parametrize("make", [meter_process, meter_by_sampling])
def test_a_process_that_never_was_is_gone(make: type) -> None:
    meter = make(2**22 + 1)
    assert meter.look() is None
    assert meter.peak_bytes is None

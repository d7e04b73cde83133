"""Pinned memory through stand-ins for ``torch.cuda`` and the driver."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from autobatch.devices.host import HostMemory, open_pinned
from autobatch.devices.pinned import PinnedMemory
from autobatch.records import Unknown

MIB = 2**20


class Host:
    """A host on which pinned pages are resident, or not."""

    def __init__(self, *, is_resident: bool) -> None:
        self.resident_bytes = 100 * MIB
        self._is_resident = is_resident

    def pin(self, num_bytes: int) -> object:
        if self._is_resident:
            self.resident_bytes += num_bytes
        return object()

    def open(self, cuda: Any) -> PinnedMemory:
        return PinnedMemory(cuda, "2.99", pin=self.pin, resident_bytes=lambda: self.resident_bytes)


def _cuda(peak_bytes: int) -> Any:
    resets: list[str] = []
    return SimpleNamespace(
        host_memory_stats=lambda: {"allocated_bytes.peak": peak_bytes, "active_bytes.peak": 1},
        reset_peak_host_memory_stats=lambda: resets.append("reset"),
        resets=resets,
    )


def test_pinned_memory_is_what_the_allocator_owned_at_its_highest() -> None:
    pinned = Host(is_resident=True).open(_cuda(64 * MIB))
    assert pinned.peak_bytes() == 64 * MIB


@pytest.mark.parametrize(("is_resident", "unseen"), [(True, 0), (False, 64 * MIB)])
def test_what_is_resident_is_not_counted_twice(is_resident: bool, unseen: int) -> None:
    assert Host(is_resident=is_resident).open(_cuda(64 * MIB)).unseen_bytes() == unseen


def test_a_reset_reaches_the_allocator() -> None:
    cuda = _cuda(0)
    Host(is_resident=True).open(cuda).reset_peak()
    assert cuda.resets == ["reset"]


def test_a_pytorch_that_does_not_count_is_a_reason() -> None:
    pinned = Host(is_resident=False).open(SimpleNamespace())
    pinned.reset_peak()
    answer = pinned.peak_bytes()
    assert isinstance(answer, Unknown) and "PyTorch 2.99" in answer.reason
    assert pinned.unseen_bytes() == 0


def test_before_anything_was_pinned_there_is_none() -> None:
    cuda = SimpleNamespace(host_memory_stats=dict)
    assert Host(is_resident=True).open(cuda).peak_bytes() == 0


@pytest.mark.parametrize("name", ["cpu", "mps"])
def test_for_the_machines_own_memory_nothing_is_pinned(name: str) -> None:
    assert open_pinned(name) is None
    host = HostMemory(None)
    host.reset_peak()
    assert host.read().pinned_bytes == 0


def test_a_device_whose_allocator_does_not_count_has_a_reason() -> None:
    answer = open_pinned("xpu:0")
    assert isinstance(answer, Unknown) and "xpu:0" in answer.reason
    host = HostMemory(answer)
    host.reset_peak()
    assert host.read().pinned_bytes == answer


def test_unseen_pinned_memory_is_part_of_what_this_process_holds() -> None:
    seen = HostMemory(Host(is_resident=True).open(_cuda(900 * MIB)))
    unseen = HostMemory(Host(is_resident=False).open(_cuda(900 * MIB)))
    readings = []
    for host in (seen, unseen):
        host.reset_peak()
        readings.append(host.read())
    assert readings[1].own_bytes - readings[0].own_bytes == pytest.approx(900 * MIB, abs=50 * MIB)
    assert [reading.pinned_bytes for reading in readings] == [900 * MIB] * 2


def test_without_the_kernel_the_peak_is_a_lower_bound() -> None:
    host = HostMemory(None, uses_kernel=False)
    host.reset_peak()
    reading = host.read()
    assert reading.is_lower_bound
    assert reading.own_bytes > 10 * MIB
    assert reading.loader_bytes == 0

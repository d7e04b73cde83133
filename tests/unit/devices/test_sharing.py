"""Whose memory is it: a GPU's accounts with processes that come, go and grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autobatch.devices.sharing import SharedMemory

GIB = 2**30
MIB = 2**20


@dataclass
class Gpu:
    """A GPU whose real accounts are known; a driver tells some of them."""

    total: int = 80 * GIB
    others: int = 0
    overhead: int = 0
    reserved: int = 0

    def info(self) -> tuple[int, int]:
        return self.total - self.others - self.overhead - self.reserved, self.total

    def own(self) -> int:
        return self.overhead + self.reserved


def _open(gpu: Gpu, *, tells_own: bool, tells_before: bool = True) -> SharedMemory:
    """Open a GPU: the context takes 500 MiB."""
    free_before = gpu.info()[0]
    gpu.overhead = 500 * MIB
    arguments: dict[str, Any] = {"own": gpu.own} if tells_own else {}
    return SharedMemory(
        info=gpu.info,
        reserved=lambda: gpu.reserved,
        free_before_bytes=free_before if tells_before else None,
        **arguments,
    )


def test_an_empty_gpu_is_ours_context_included() -> None:
    for tells_own in (True, False):
        memory = _open(Gpu(), tells_own=tells_own)
        assert memory.available_bytes() == memory.total_bytes() == 80 * GIB
        assert memory.overhead_bytes() == 500 * MIB


def test_what_others_held_before_is_theirs() -> None:
    for tells_own in (True, False):
        memory = _open(Gpu(others=10 * GIB), tells_own=tells_own)
        assert memory.available_bytes() == 70 * GIB
        assert memory.overhead_bytes() == 500 * MIB


def test_a_process_that_comes_later_is_seen() -> None:
    for tells_own in (True, False):
        gpu = Gpu()
        memory = _open(gpu, tells_own=tells_own)
        gpu.others = 30 * GIB
        assert memory.available_bytes() == 50 * GIB
        assert memory.overhead_bytes() == 500 * MIB


def test_a_process_that_goes_gives_its_memory_back() -> None:
    for tells_own in (True, False):
        gpu = Gpu(others=30 * GIB)
        memory = _open(gpu, tells_own=tells_own)
        gpu.others = 0
        assert memory.available_bytes() == 80 * GIB


def test_what_our_allocator_keeps_is_ours_to_have() -> None:
    for tells_own in (True, False):
        gpu = Gpu(others=GIB)
        memory = _open(gpu, tells_own=tells_own)
        gpu.reserved = 20 * GIB
        assert memory.available_bytes() == 79 * GIB


def test_overhead_that_grows_during_a_trial_is_ours() -> None:
    for tells_own in (True, False):
        gpu = Gpu(others=GIB)
        memory = _open(gpu, tells_own=tells_own)
        memory.available_bytes()
        gpu.reserved, gpu.overhead = 5 * GIB, 900 * MIB
        assert memory.overhead_bytes() == 900 * MIB


def test_a_process_that_comes_during_a_trial_is_told_apart_where_the_driver_tells() -> None:
    gpu = Gpu()
    memory = _open(gpu, tells_own=True)
    gpu.others = 30 * GIB
    assert memory.overhead_bytes() == 500 * MIB


def test_where_it_does_not_tell_the_newcomer_counts_against_the_trial() -> None:
    gpu = Gpu()
    memory = _open(gpu, tells_own=False)
    gpu.others = 30 * GIB
    assert memory.overhead_bytes() == 30 * GIB + 500 * MIB


def test_without_a_reading_before_the_context_counts_as_others() -> None:
    memory = _open(Gpu(others=GIB), tells_own=False, tells_before=False)
    assert memory.available_bytes() == 79 * GIB - 500 * MIB
    assert memory.overhead_bytes() == 0


def test_a_process_that_leaves_while_we_open_the_gpu_is_not_our_negative_overhead() -> None:
    gpu = Gpu(others=30 * GIB)
    free_before = gpu.info()[0]
    gpu.others, gpu.overhead = 0, 500 * MIB
    memory = SharedMemory(
        info=gpu.info, reserved=lambda: gpu.reserved, free_before_bytes=free_before
    )
    assert memory.overhead_bytes() >= 0
    assert memory.available_bytes() <= 80 * GIB

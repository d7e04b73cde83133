"""What a trial does to malloc before its steps: nothing, since page faults are part of them."""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks /proc and glibc")

MIB = 2**20
NUM_THREADS = 3

# Whether glibc gives a block of its own to an allocation tells whether its threshold has moved.
PROGRAM = f"""
    import ctypes, json, os
    import torch
    from autobatch.probe.trial.start import start_threads

    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )]

    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Info
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]

    def has_block_of_its_own(num_bytes):
        before = libc.mallinfo2().hblks
        libc.malloc(num_bytes)
        return libc.mallinfo2().hblks > before

    def count_threads():
        return len(os.listdir("/proc/self/task"))

    torch.set_num_threads({NUM_THREADS})
    num_before = count_threads()
    start_threads()
    num_started = count_threads()
    torch.randn(512, 512) @ torch.randn(512, 512)
    is_apart = has_block_of_its_own({3 * MIB})
    torch.zeros({MIB}).add_(1)
    print(json.dumps([num_started - num_before, count_threads() - num_started,
                      is_apart, has_block_of_its_own({3 * MIB})]))
"""


@pytest.fixture(scope="module")
def told() -> list[int]:
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("not glibc 2.33 or later")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)], capture_output=True, text=True, check=True
    )
    answers: list[int] = json.loads(done.stdout)
    return answers


def test_threads_are_started_at_once(told: list[int]) -> None:
    num_started, num_later, *_ = told
    assert num_started >= NUM_THREADS - 1
    assert num_later == 0


def test_starting_threads_leaves_the_threshold_of_malloc_alone(told: list[int]) -> None:
    *_, is_apart, is_apart_after_a_large_tensor = told
    assert is_apart
    assert not is_apart_after_a_large_tensor, "this test cannot tell whether the threshold moves"

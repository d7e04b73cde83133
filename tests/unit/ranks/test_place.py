"""Where a child stands that does not end, by its stack."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from autobatch.ranks.place import Stacks, read_stack

if sys.platform != "linux":
    pytest.skip("forks", allow_module_level=True)

IN_USERS_CODE = """Current thread 0x00007f (most recent call first):
  File "/home/me/train.py", line 34 in forward
  File "/venv/lib/python3.11/site-packages/torch/nn/modules/module.py", line 1775 in _call_impl
"""
IN_A_COLLECTIVE = """Current thread 0x00007f (most recent call first):
  File "/venv/lib/site-packages/torch/distributed/distributed_c10d.py", line 3000 in all_reduce
  File "/home/me/train.py", line 40 in step
"""
IN_A_LAYER = """Current thread 0x00007f (most recent call first):
  File "/venv/lib/python3.11/site-packages/torch/nn/modules/linear.py", line 134 in forward
  File "/home/me/train.py", line 41 in step
"""


def test_a_child_in_the_users_code_does_not_wait() -> None:
    assert read_stack(IN_USERS_CODE) == ("it was at train.py:34 in forward", False)


def test_a_child_in_a_collective_waits_and_the_users_line_is_said() -> None:
    assert read_stack(IN_A_COLLECTIVE) == ("it was at train.py:40 in step", True)


def test_a_child_that_computes_does_not_wait() -> None:
    assert read_stack(IN_A_LAYER) == ("it was at train.py:41 in step", False)


def test_one_that_writes_nothing_is_stopped() -> None:
    standing = read_stack("")
    assert "stopped" in standing.text
    assert not standing.waits


def fork(stacks: Stacks) -> int:
    pid = os.fork()
    if pid == 0:
        stacks.listen()
        linger()
        os._exit(0)
    time.sleep(0.2)
    return pid


def linger() -> None:
    time.sleep(60)


def test_a_real_child_says_where_it_is_again_and_again() -> None:
    stacks = Stacks()
    pid = fork(stacks)
    try:
        for _ in range(2):
            standing = stacks.find(pid)
            assert "test_place.py" in standing.text
            assert "linger" in standing.text
        os.kill(pid, signal.SIGSTOP)
        assert "stopped" in stacks.find(pid).text
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)

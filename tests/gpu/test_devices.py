"""What a GPU says of itself, held against what PyTorch and a second process see of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

pytestmark = pytest.mark.gpu

HOLD_2_GIB = """
import sys, torch
block = torch.zeros(2 * 2**30, dtype=torch.uint8, device="cuda:0")
torch.cuda.synchronize()
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def neighbour():
    """A process that takes 2 GiB when told and keeps them until the test ends."""
    started = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD_2_GIB],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.communicate("\n", timeout=60)


def test_the_command_shows_the_gpu() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "autobatch", "devices", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    gpu = json.loads(done.stdout)["devices"][0]
    assert gpu["name"] == "cuda:0"
    assert gpu["hardware_name"] == torch.cuda.get_device_name(0)
    _, total_bytes = torch.cuda.mem_get_info(0)
    assert gpu["capacity_bytes"] == pytest.approx(total_bytes, rel=0.02)
    assert gpu["driver_version"]
    major, minor = torch.cuda.get_device_capability(0)
    assert gpu["gpu"]["compute_capability"] == f"{major}.{minor}"


def test_a_process_that_comes_later_is_seen(neighbour) -> None:
    from autobatch.devices.cuda import CudaDevice

    device = CudaDevice(0)
    before = device.bounds(None)[0].available_bytes
    neighbour()
    after = device.bounds(None)[0].available_bytes
    assert before - after >= 2 * 2**30


def test_what_this_process_holds_stays_its_own() -> None:
    from autobatch.devices.cuda import CudaDevice

    device = CudaDevice(0)
    before = device.bounds(None)[0].available_bytes
    block = torch.zeros(2**30, dtype=torch.uint8, device="cuda:0")
    after = device.bounds(None)[0].available_bytes
    del block
    assert after == pytest.approx(before, abs=256 * 2**20)


def test_a_device_side_assert_is_sticky() -> None:
    code = """
import torch
from autobatch.devices.sticky import is_sticky
try:
    torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")].cpu()
except RuntimeError as error:
    print(is_sticky(error))
try:
    torch.zeros(1, device="cuda")
except RuntimeError as error:
    print(is_sticky(error))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True"]

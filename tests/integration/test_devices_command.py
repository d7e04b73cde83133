"""``autobatch devices``, run for real."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import psutil
import pytest
import torch
from fixtures.commands import STRICT, run_autobatch

autobatch = partial(run_autobatch, flags=STRICT)


def test_every_device_is_shown_with_its_budget() -> None:
    done = autobatch("devices")
    assert (done.returncode, done.stderr) == (0, "")
    assert "cpu (" in done.stdout
    assert "GiB free of" in done.stdout
    assert "usable" in done.stdout
    assert f"PyTorch {torch.__version__}; --device auto takes" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_it_says_so_in_a_line() -> None:
    done = autobatch("devices")
    assert done.returncode == 0
    assert "No GPU: PyTorch" in done.stdout or "cannot use it" in done.stdout


def test_json_holds_what_the_machine_has() -> None:
    done = autobatch("devices", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    cpu = document["devices"][-1]
    assert cpu["name"] == "cpu"
    assert cpu["capacity_bytes"] == psutil.virtual_memory().total
    assert 0 < cpu["budget"]["budget_bytes"] < cpu["capacity_bytes"]
    assert sum(bound["binds"] for bound in cpu["bounds"]) >= 1
    assert 0 < cpu["cpu"]["num_usable_cores"] <= cpu["cpu"]["num_cores"]
    assert cpu["unknown"] == {"driver_version": "a CPU has no driver"}


def test_one_device_can_be_asked_for() -> None:
    document = json.loads(autobatch("devices", "--device", "cpu", "--json").stdout)
    assert [device["name"] for device in document["devices"]] == ["cpu"]


def test_a_tighter_memory_limit_binds_and_is_marked() -> None:
    code = (
        "import resource, runpy, sys; hard = resource.getrlimit(resource.RLIMIT_AS)[1]; "
        "resource.setrlimit(resource.RLIMIT_AS, (64 * 2**30, hard)); "
        "sys.argv = ['autobatch', 'devices', '--device', 'cpu', '--json']; "
        "runpy.run_module('autobatch', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    bounds = json.loads(done.stdout)["devices"][0]["bounds"]
    assert "RLIMIT_AS (ulimit -v)" in [bound["name"] for bound in bounds]


@pytest.mark.parametrize(
    ("name", "part"), [("gpu", "unknown device 'gpu'"), ("cuda:99", "'cuda:99' is not available")]
)
def test_a_device_that_is_not_there_is_status_2_with_a_hint(name: str, part: str) -> None:
    done = autobatch("devices", "--device", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert part in done.stderr
    assert "Hint:" in done.stderr


def test_help_has_two_examples() -> None:
    done = autobatch("devices", "-h")
    assert done.returncode == 0
    assert done.stdout.count("  autobatch devices") == 2

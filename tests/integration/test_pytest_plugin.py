"""The pytest plugin, run by a real pytest on a small project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

TESTS = """
import time
import pytest
import torch
from autobatch import Workload

def step(model, batch):
    time.sleep(0.002)
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1])

def make():
    return Workload(
        model=torch.nn.Linear(10, 3),
        dataset=[(torch.randn(10), 1)] * 64,
        training_step=step,
    )

def test_trains(autobatch):
    report = autobatch.assert_fits(
        make(), batch_size=8, max_memory="1TiB", min_throughput=0.1, device="cpu"
    )
    assert report.is_met

def test_takes_too_much(autobatch):
    autobatch.assert_fits(make, batch_size=8, max_memory="10MiB", device="cpu")

@pytest.mark.autobatch(device="cuda", min_capacity="1000TiB")
def test_needs_what_there_is_not(autobatch):
    raise AssertionError("ran")

@pytest.mark.autobatch(device="cpu", min_free="1MiB", require="fp32")
def test_has_what_it_needs():
    pass

def test_says_what_is_broken(autobatch):
    autobatch.assert_fits("no_such_file.py", batch_size=8)
"""
LIGHT = """
import sys
def test_nothing_heavy_is_loaded():
    assert sys.modules.keys().isdisjoint({"torch", "numpy", "scipy", "rich", "msgspec"})
"""


def run_pytest(folder: Path, *arguments: str) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-rA",
         "--strict-markers", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=280,
    )  # fmt: skip


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "with xdist"])
def test_a_project_passes_fails_and_skips_and_its_junit_has_the_figures(
    tmp_path: Path, workers: tuple[str, ...]
) -> None:
    (tmp_path / "test_project.py").write_text(TESTS)
    done = run_pytest(tmp_path, "--junit-xml", "junit.xml", *workers)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "2 failed, 2 passed, 1 skipped" in done.stdout, done.stdout
    assert "max-memory NOT MET: measured" in done.stdout
    assert "- Failed: 1 of 2 met" in done.stdout
    assert "no_such_file.py does not exist" in done.stdout
    cases = {
        case.get("name"): case
        for case in ElementTree.parse(tmp_path / "junit.xml").iter("testcase")
    }
    figures = {
        each.get("name"): each.get("value") for each in cases["test_trains"].iter("property")
    }
    assert float(figures["autobatch_samples_per_s"]) > 0
    assert float(figures["autobatch_peak_bytes"]) > 2**20
    assert figures["autobatch_max-memory"] == "met"
    failed = {each.get("name"): each.get("value") for each in cases["test_takes_too_much"].iter(
        "property")}  # fmt: skip
    assert failed["autobatch_max-memory"] == "not_met"
    skipped = cases["test_needs_what_there_is_not"].find("skipped")
    assert skipped is not None
    reason = skipped.get("message") or ""
    assert "min-capacity" in reason or "no device 'cuda'" in reason


def test_loading_the_plugin_loads_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_light.py").write_text(LIGHT)
    done = run_pytest(tmp_path, "-p", "no:hypothesispytest", "-p", "no:xdist")
    assert done.returncode == 0, done.stdout
    assert "autobatch" in run_pytest(tmp_path, "--markers").stdout


def test_the_proof_above_can_fail(tmp_path: Path) -> None:
    (tmp_path / "test_light.py").write_text("import torch\n" + LIGHT)
    done = run_pytest(tmp_path, "-p", "no:hypothesispytest", "-p", "no:xdist")
    assert done.returncode == 1


MEANINGLESS = {
    'autobatch(device="cpu", min_fre="1GiB")': "has no option 'min_fre'; did you mean 'min_free'?",
    'autobatch("cpu")': "the marker takes names, not 'cpu'",
    'autobatch(device="tpu")': "unknown device 'tpu'",
    'autobatch(min_free="lots")': "`min_free` must be a memory size with its unit, got 'lots'",
}


def test_a_marker_that_means_nothing_is_an_error_and_no_skip(tmp_path: Path) -> None:
    tests = [
        f"@pytest.mark.{mark}\ndef test_{index}(): pass\n" for index, mark in enumerate(MEANINGLESS)
    ]
    (tmp_path / "test_marked.py").write_text("\n".join(["import pytest", *tests]))
    done = run_pytest(tmp_path)
    assert f"{len(MEANINGLESS)} errors" in done.stdout.splitlines()[-1], done.stdout
    for words in MEANINGLESS.values():
        assert words in done.stdout
    assert "pytest_plugin.py" not in done.stdout, "a traceback through the plugin"

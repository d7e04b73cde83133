"""Files that are there stay as they are; the fixture ``folder`` compares all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autobatch.command.launch import choose_protection
from autobatch.command.settings import FileProtection
from autobatch.command.template import ConfigKey
from autobatch.errors import AutobatchError, SettingsError
from autobatch.probe.protocol import Purpose, TimingPlan

FINAL = TimingPlan(purpose=Purpose.FINAL, min_steps=5, max_time_s=0.1, num_windows=3)
SAVES = "python loop.py --batch-size 16 --variant saves"
KEYS = (ConfigKey("config.json", "data.batch_size"),)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs /proc")


def can_overlay(folder: Path) -> bool:
    return choose_protection(FileProtection.AUTO, str(folder)).kind is FileProtection.OVERLAY


def test_an_overlay_takes_all_that_is_written(probing: Callable[..., Any], folder: Path) -> None:
    if not can_overlay(folder):
        pytest.skip("the kernel lets no overlay be mounted here")
    with probing(
        "python loop.py --batch-size 16 --variant saves", files=FileProtection.OVERLAY
    ) as prober:
        prober.load()
        assert prober.measure(16, FINAL).fits
        assert str(folder) in prober.protection.sentence


def test_the_guard_holds_what_would_overwrite(
    refusal: Callable[..., AutobatchError], folder: Path
) -> None:
    error = refusal(SAVES, files=FileProtection.GUARD)
    assert str(error) == f"{folder}/model.pt would have been overwritten"
    assert "`files=none`" in error.hint


def test_the_guard_removes_what_is_new(probing: Callable[..., Any], folder: Path) -> None:
    # The first step makes logs/new.txt and new.pt; the second writes over what is its own by then.
    with probing(f"{SAVES} --out new.pt", files=FileProtection.GUARD) as prober:
        assert prober.load().workload.model == "Sequential"
        prober.measure(16, FINAL)
        assert prober.starts.written[str(folder / "new.pt")] == "write"


def test_outside_of_the_overlay_the_guard_holds(
    refusal: Callable[..., AutobatchError], tmp_path: Path
) -> None:
    outside = tmp_path / "outside.pt"
    outside.write_text("precious")
    error = refusal(f"{SAVES} --out {outside}")
    assert str(error) == f"{outside} would have been overwritten"
    assert outside.read_text() == "precious"


def test_a_size_in_a_file_changes_for_the_trial_alone(
    probing: Callable[..., Any], folder: Path
) -> None:
    if not can_overlay(folder):
        pytest.skip("the kernel lets no overlay be mounted here")
    with probing("python from_config.py", config_keys=KEYS, fresh=True) as prober:
        assert prober.load().workload.base_batch_size == 24
        trial = prober.measure(48, FINAL)
    assert trial.fits
    assert prober.starts.num_starts == 2


def test_a_size_in_a_file_needs_an_overlay(refusal: Callable[..., AutobatchError]) -> None:
    error = refusal("python from_config.py", config_keys=KEYS, files=FileProtection.GUARD)
    assert isinstance(error, SettingsError)
    assert str(error) == "`in=config.json:data.batch_size` needs an overlay, and `files` is guard"

"""A recording is made sweep by sweep, on the device that was named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autobatch.records import Settings
from scripts.replay import record as module
from scripts.replay.record import record, record_sweeps

# A model that is ready at once; sizes up to its dataset's.
TARGET = """
import torch
from torch import nn
model = nn.Linear(4, 4)
dataset = [(torch.randn(4), torch.randn(4))] * 4
loss = nn.functional.mse_loss
"""


def test_what_there_is_after_each_sweep_is_a_recording(tmp_path: Path) -> None:
    file = tmp_path / "target_file.py"
    file.write_text(TARGET)
    sweeps = record_sweeps(str(file), seconds=0.0, settings=Settings(device="cpu"))
    first = [dict(cell) for cell in next(sweeps)["cells"]]
    assert {cell["sweep"] for cell in first} == {0}
    *_, last = sweeps
    assert last["cells"][: len(first)] == first
    assert {cell["sweep"] for cell in last["cells"]} == {0, 1}
    assert last["dataset_size"] == 4


@pytest.mark.parametrize("options", [{}, {"device": "cuda:1"}])
def test_the_device_is_the_one_that_was_named(
    options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def make(target: str, settings: Settings) -> Any:
        asked.append(settings.device)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "TargetProber", make)
    with pytest.raises(KeyboardInterrupt):
        record("a target", 0.0, **options)
    assert asked == [options.get("device", "auto")]

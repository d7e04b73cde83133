"""What a trial on a GPU tells beside its time, and what it survives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autobatch.probe.client import TargetProber
from autobatch.probe.protocol import TimingPlan
from autobatch.records import Outcome, Settings

pytestmark = pytest.mark.gpu

MIB = 2**20
LONG = TimingPlan(min_steps=10, max_time_s=1.0, precision_fraction=0.0)
SHORT = TimingPlan(min_steps=1, max_time_s=0.0)
TARGET = """
import torch
model = torch.nn.Linear(4096, 4096)
def batch(batch_size):
    return torch.randn(batch_size, 4096), torch.randn(batch_size, 4096)
"""
ASSERTING = """
import torch
model = torch.nn.Embedding(16, 8)
def batch(batch_size):
    return torch.full((batch_size,), 99 if batch_size == 8 else 3)
def training_step(model, batch):
    return model(batch).sum()
"""
PINNING = """
import torch
class Large(torch.utils.data.Dataset):
    def __len__(self): return 4096
    def __getitem__(self, index): return torch.ones(2**18), torch.zeros(3)
model = torch.nn.Linear(2**18, 3)
train_loader = torch.utils.data.DataLoader(
    Large(), batch_size=16, num_workers=2, prefetch_factor=2, pin_memory=True
)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Start a prober on the GPU for code."""
    started: list[TargetProber] = []

    def make(code: str) -> TargetProber:
        path = tmp_path / "target_file.py"
        path.write_text(code)
        prober = TargetProber(str(path), Settings(device="cuda"))
        prober.__enter__()
        started.append(prober)
        return prober

    yield make
    for prober in started:
        prober.__exit__(None, None, None)


def test_a_trial_tells_throttling_or_why_not(start: Callable[[str], Any]) -> None:
    prober = start(TARGET)
    prober.load()
    trial = prober.measure(1024, LONG)
    assert (trial.throttle_reasons is None) == ("throttle_reasons" in trial.unknown)


def test_a_device_side_assert_costs_one_trial(start: Callable[[str], Any]) -> None:
    prober = start(ASSERTING)
    prober.load()
    assert prober.measure(4, SHORT).fits
    trial = prober.measure(8, SHORT)
    assert trial.outcome is Outcome.KILLED
    assert "device was lost" in trial.message
    assert prober.measure(4, SHORT).fits


def test_host_memory_has_a_budget_and_a_peak(start: Callable[[str], Any]) -> None:
    prober = start(TARGET)
    loaded = prober.load()
    assert loaded.host_budget is not None
    trial = prober.measure(64, SHORT)
    assert 200 * MIB < trial.host_peak_bytes < loaded.host_budget.budget_bytes
    assert trial.loader_bytes == 0


def test_pinned_batches_and_loader_workers_are_host_memory(start: Callable[[str], Any]) -> None:
    prober = start(PINNING)
    prober.load()
    trial = prober.measure(16, LONG)
    assert trial.fits
    assert trial.loader_bytes > 0
    if trial.pinned_bytes is None:
        pytest.skip(trial.unknown["pinned_bytes"])
    assert trial.pinned_bytes >= 16 * MIB
    assert trial.host_peak_bytes >= trial.pinned_bytes + trial.loader_bytes

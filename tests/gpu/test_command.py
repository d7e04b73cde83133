"""An unedited command that trains on a GPU: its time, its memory, its limit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from autobatch.command.prober import CommandProber
from autobatch.command.settings import CommandSettings
from autobatch.probe.protocol import Purpose, TimingPlan
from autobatch.records import Outcome, Settings

pytestmark = pytest.mark.gpu

MIB, GIB = 2**20, 2**30
PLAN = TimingPlan(min_steps=5, max_time_s=0.5)
FINAL = TimingPlan(purpose=Purpose.FINAL, min_steps=5, max_time_s=0.5, num_windows=3)
# A sample takes 16 MiB of each hidden layer's output, and its part of a large multiplication.
SCRIPT = """
import sys, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

size, catches = int(sys.argv[2]), "catches" in sys.argv
model = nn.Sequential(nn.Linear(256, 2048), nn.ReLU(), nn.Linear(2048, 8)).cuda()
optimizer = torch.optim.AdamW(model.parameters())
data = TensorDataset(torch.randn(2048, 256), torch.randint(0, 8, (2048,)))
while True:
    for inputs, labels in DataLoader(data, batch_size=size):
        try:
            inputs = inputs.cuda().repeat(2048, 1)
            loss = model(inputs).view(2048, len(labels), 8).mean(0)
            optimizer.zero_grad()
            nn.functional.cross_entropy(loss, labels.cuda()).backward()
            optimizer.step()
        except torch.OutOfMemoryError:
            if not catches:
                raise
"""


@pytest.fixture
def probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., CommandProber]]:
    """Make a prober of the script."""
    (tmp_path / "train.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:

        def make(*more: str, fresh: bool = False, limit_bytes: int | None = None) -> CommandProber:
            command = (sys.executable, "train.py", "--batch-size", "4", *more)
            settings = Settings(memory_limit_bytes=limit_bytes)
            prober = CommandProber(command, settings, CommandSettings(fresh=fresh))
            return stack.enter_context(prober)

        yield make


@pytest.mark.parametrize("fresh", [False, True])
def test_steps_are_timed_by_the_gpu_and_peaks_are_its_own(
    probe: Callable[..., CommandProber], fresh: bool
) -> None:
    prober = probe(fresh=fresh)
    loaded = prober.load()
    small, large = prober.measure(8, PLAN), prober.measure(64, PLAN)
    assert loaded.device == "cuda:0"
    assert loaded.host_budget is not None
    assert small.fits and large.fits
    assert small.step_time_s is not None and large.step_time_s is not None
    assert 4 * small.step_time_s < large.step_time_s < 16 * small.step_time_s
    for trial, size in ((small, 8), (large, 64)):
        # Two outputs of the hidden layer, and the gradient of one of them.
        assert trial.peak_allocated_bytes is not None and trial.peak_reserved_bytes is not None
        assert trial.peak_allocated_bytes == pytest.approx(3 * 16 * MIB * size, rel=0.3)
        assert trial.peak_allocated_bytes <= trial.peak_reserved_bytes <= (trial.peak_bytes or 0)


@pytest.mark.parametrize("more", [(), ("catches",)])
def test_memory_beyond_the_limit_is_out_of_memory(
    probe: Callable[..., CommandProber], more: tuple[str, ...]
) -> None:
    prober = probe(*more, limit_bytes=3 * GIB)
    loaded = prober.load()
    assert loaded.budget.budget_bytes < 3 * GIB
    assert prober.measure(16, PLAN).fits
    assert prober.measure(256, PLAN).outcome is Outcome.OUT_OF_MEMORY
    final = prober.measure(16, FINAL)
    assert final.fits and len(final.window_peaks_bytes) == 3

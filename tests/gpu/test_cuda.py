"""What only a GPU can show. Skipped without one; ``--require-gpu`` makes that a failure."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.gpu

TARGET = """
import torch
model = torch.nn.Sequential(
    torch.nn.Linear(256, 8192), torch.nn.ReLU(), torch.nn.Linear(8192, 10)
)
def batch(n): return torch.randn(n, 256), torch.randint(10, (n,))
"""


@pytest.fixture
def target(tmp_path: Path) -> str:
    path = tmp_path / "target.py"
    path.write_text(TARGET)
    return str(path)


@pytest.mark.parametrize("limit_mib", [2000, 3000, 6000])
def test_the_largest_size_is_the_one_that_trying_all_finds(target: str, limit_mib: int) -> None:
    from autobatch.finder import find
    from autobatch.probe.client import TargetProber
    from autobatch.probe.protocol import TimingPlan
    from autobatch.records import Goal, Settings

    asked = Settings(device="cuda", goal=Goal.MEMORY, memory_limit_bytes=limit_mib * 2**20)
    with TargetProber(target, asked) as prober:
        finding = find(prober, asked, target=target)
    with TargetProber(target, asked) as prober:
        prober.load()
        fitting = []
        for size in (2**power for power in range(20)):
            if not prober.measure(size, TimingPlan(max_time_s=0.1)).fits:
                break
            fitting.append(size)
    assert finding.batch_size == max(fitting)
    assert finding.recommendation.largest_was_run
    assert finding.recommendation.peak_bytes is not None
    assert finding.recommendation.peak_bytes <= finding.budget.budget_bytes


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "fp16"])
def test_every_precision_trains(target: str, precision: str) -> None:
    from autobatch.finder import find
    from autobatch.probe.client import TargetProber
    from autobatch.records import Precision, Settings

    asked = Settings(device="cuda", precision=Precision(precision), max_batch_size=64)
    with TargetProber(target, asked) as prober:
        finding = find(prober, asked, target=target)
    assert finding.device == "cuda:0"
    assert finding.environment.driver_version
    assert all(trial.loss_is_finite for trial in finding.trials)

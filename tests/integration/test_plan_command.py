"""``autobatch plan TARGET``: traced here, fitted to GPUs that are not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import autobatch
from autobatch.cli import run
from autobatch.planning.report import PLAN

MODEL = """
import torch
from torch import nn

WIDTH = 4096
model = nn.Sequential(
    nn.Linear(WIDTH, WIDTH, bias=False), nn.ReLU(), nn.Linear(WIDTH, 8, bias=False)
)
loss = nn.functional.cross_entropy
optimizer = lambda parameters: torch.optim.AdamW(parameters, lr=1e-3)
batch = lambda size: (torch.randn(size, WIDTH), torch.randint(8, (size,)))
"""
BRANCHES = (
    MODEL
    + """
class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(WIDTH, 8)

    def forward(self, x):
        return self.layer(x * 2 if x.sum() > 0 else x)

model = Branches()
"""
)
MIB = 2**20
# Weights of 64 MiB and 128 KiB, with gradients and two moments.
STATE_BYTES = 4 * (4096 * 4096 + 4096 * 8) * 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "model.py"
    path.write_text(MODEL)
    return path


@pytest.fixture(scope="module")
def plan(model: Path) -> autobatch.Plan:
    return autobatch.plan(
        str(model),
        gpu="l4",
        gpu_memory=["4GiB:8.9"],
        batch_size=1024,
        price={"4GiB:8.9": 2, "l4": 1},
    )


def test_the_largest_size_is_where_memory_ends(plan: autobatch.Plan) -> None:
    l4, small = plan.cards
    # A sample and its hidden layer, and what backward makes of them: two rows of 16 KiB stay.
    assert small.at_largest is not None
    assert small.at_largest.peak_bytes <= small.memory_bytes
    assert small.largest.low < small.largest.likely < small.largest.high
    assert l4.largest.likely > 5 * small.largest.likely
    per_sample = (l4.at_largest.allocated_bytes - small.at_largest.allocated_bytes) / (
        l4.largest.likely - small.largest.likely
    )
    assert 2 * 4096 * 4 <= per_sample <= 5 * 4096 * 4


def test_the_peak_is_that_of_the_training(plan: autobatch.Plan) -> None:
    peak = plan.cards[0].at_batch_size
    assert peak is not None and peak.fits and peak.is_certain
    rows = 1024 * 4096 * 4
    assert STATE_BYTES <= peak.allocated_bytes <= STATE_BYTES + 6 * rows + 64 * MIB
    assert peak.parts_bytes["parameters"] == STATE_BYTES // 4
    assert peak.parts_bytes["optimizer state"] == pytest.approx(STATE_BYTES // 2, rel=1e-4)


def test_the_choice_is_the_cheapest_and_nothing_was_run(plan: autobatch.Plan) -> None:
    assert plan.choice == "l4"
    assert "nothing was run on a GPU" in str(plan)
    assert plan.band_fraction == 0.01
    assert "torch" in plan.versions
    assert set(plan.timeline.begins) >= {"forward", "backward", "optimizer"}


def test_throughput_is_estimated_from_what_the_step_computes(model: Path) -> None:
    plan = autobatch.plan(str(model), gpu=["rtx-3090", "rtx-4090", "l4"], batch_size=65536)
    slow, fast, unknown = (each.estimated_samples_per_s for each in plan.cards)
    # The first layer and its weight's gradient, in float32, which the data sheets bound.
    flops = 2 * 2 * 4096 * 4096
    assert slow is not None and fast is not None
    assert 0.5 * 35.6e12 / flops < slow < 1.6 * 35.6e12 / flops
    assert 1.5 < fast / slow < 3
    assert unknown is None
    assert "est. samples/s" in str(plan)


def test_the_command_saves_draws_and_shows_again(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, picture = tmp_path / "plan.json", tmp_path / "plan.svg"
    arguments = ["plan", str(model), "--gpu-memory", "2100MiB", "--batch-size", "100000", "-q"]
    status = run([*arguments, "-o", str(saved), "--plot", str(picture)])
    printed = capsys.readouterr().out
    assert status == 1, "it fits on none"
    assert "does not fit on 2100MiB" in " ".join(printed.split())
    assert not json.loads(saved.read_text())["fits"]
    assert picture.stat().st_size > 1000
    assert run(["show", str(saved)]) == 0
    assert capsys.readouterr().out == printed
    assert PLAN.load(saved).target == str(model)


def test_what_cannot_be_traced_is_refused_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "branches.py"
    path.write_text(BRANCHES)
    assert run(["plan", str(path), "--gpu", "l4", "-q"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("Hint:") == 1

"""``autobatch tune`` and ``autobatch.tune`` with real levers, processes and trials."""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.commands import run_autobatch
from torch import nn

import autobatch
from autobatch.probe.protocol import TimingPlan
from autobatch.ranks.settings import Parallel, RanksSettings
from autobatch.records import Settings
from autobatch.tuning.asked import LEVER_NAMES
from autobatch.tuning.jobs import TruthJob
from autobatch.tuning.probers import TargetOpener

run_tune = partial(run_autobatch, "tune")

BLOCKS = """
import os, signal, torch
from torch import nn

class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(*(
            nn.Sequential(nn.Linear(64, 64), {layer}, nn.ReLU()) for _ in range(4)
        ))

    def forward(self, x):
        return self.blocks(x).mean(dim=1, keepdim=True)

    def set_grad_checkpointing(self, enable=True):
        {switch}

model = Stack()
features = torch.randn(64, 64)
dataset = torch.utils.data.TensorDataset(features, features[:, :1])
loss = nn.MSELoss()
batch_size = 16
"""


TELLS = """
def optimizer_step(model, optimizer):
    kinds = [each.__name__ for each in type(model.blocks[0]).__mro__]
    wrapped = next(each for each in kinds if each == "CheckpointWrapper")
    data = type(next(model.parameters()).data).__name__
    print("fused", optimizer.param_groups[0]["fused"], wrapped, data, flush=True)
    optimizer.step()
"""


def all_but(*names: str) -> tuple[str, ...]:
    return ("--skip", ",".join(each for each in LEVER_NAMES if each not in names))


def test_a_target_is_tuned_and_a_lever_that_kills_or_is_not_exact_is_left_out(
    tmp_path: Path,
) -> None:
    target, saved = tmp_path / "target.py", tmp_path / "tuning.json"
    text = BLOCKS.format(layer="nn.BatchNorm1d(64)", switch="os.kill(os.getpid(), signal.SIGKILL)")
    target.write_text(text)
    done = run_tune(target, *all_but("checkpointing"), "--max-batch-size", "4", "-o", saved)
    assert done.returncode == 0, done.stderr
    document = json.loads(saved.read_text())
    killed, second = document["attempts"][1:3]
    assert killed["changes"] == {"checkpointing": "every_block"}
    assert killed["outcome"] == "failed"
    assert second["outcome"] == "not_exact"
    assert "running statistics" in second["message"]
    assert document["changes"] == {}
    assert target.read_text() == text
    shown = run_autobatch("show", saved)
    assert shown.stdout == done.stdout
    assert "not exact for this model" in " ".join(shown.stdout.split())


@pytest.mark.parametrize("isolation", [pytest.param("auto", marks=pytest.mark.slow), "shared"])
def test_objects_are_tuned_and_left_as_they_were(isolation: str) -> None:
    model = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()),
        nn.Flatten(), nn.Linear(64, 2),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    dataset = [(torch.randn(3, 8, 8), index % 2) for index in range(32)]
    before = copy.deepcopy([model.state_dict(), optimizer.state_dict()])
    strides = [each.stride() for each in model.parameters()]
    modules = dict(model.named_modules())
    tuning = autobatch.tune(
        model, dataset, nn.CrossEntropyLoss(), optimizer, isolation=isolation, max_batch_size=2,
        skip=[each for each in LEVER_NAMES if each not in ("channels_last", "checkpointing")],
    )  # fmt: skip
    tried = [each.changes for each in tuning.attempts if each.ratios]
    assert {"channels_last": "on"} in tried
    assert {"checkpointing": "every_block"} in tried
    after: Any = [model.state_dict(), optimizer.state_dict()]
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert dict(model.named_modules()) == modules
    assert [each.stride() for each in model.parameters()] == strides
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_levers_are_put_on_every_rank_around_what_shards_the_model(tmp_path: Path) -> None:
    target = tmp_path / "target.py"
    text = BLOCKS.format(layer="nn.Identity()", switch="raise RuntimeError('not in place')")
    target.write_text(text.replace("    def set_grad_checkpointing", "    def other") + TELLS)
    ranks = RanksSettings(nproc_per_node=2, parallel=Parallel.FSDP2)
    said: list[str] = []
    opener = TargetOpener(
        str(target), Settings(device="cpu", num_devices=2), said.append, ranks=ranks
    )
    changes = {"optimizer": "fused", "checkpointing": "every_block"}
    with opener.open(changes, {}) as trainer:
        workload = trainer.load(timeout_s=60).workload
        trial = trainer.measure(4, TimingPlan(min_steps=2, max_time_s=0.1), timeout_s=60)
        truth = trainer.run(TruthJob(batch_size=2), timeout_s=60)
    assert (workload.num_ranks, workload.parallel) == (2, "FSDP2")
    assert trial.fits
    assert not truth.fault
    of_ranks = {line for line in said if line.endswith("fused True CheckpointWrapper DTensor")}
    assert len(of_ranks) == 2, said  # each rank has said it
    assert opener.refuses["loader"] == "several processes train together"

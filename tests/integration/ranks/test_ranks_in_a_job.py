"""``find_batch_size`` on every rank of a job that ``torchrun`` started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("forks", allow_module_level=True)

TRAIN = """
import hashlib, json, os, sys
from pathlib import Path
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

import autobatch

dist.init_process_group("gloo")
rank, num_ranks = dist.get_rank(), dist.get_world_size()
own = dist.new_group([0, 1])
torch.manual_seed(7)
net = nn.Sequential(nn.Linear(64, 128), nn.BatchNorm1d(128), nn.Dropout(0.1), nn.Linear(128, 4))
if sys.argv[1] == "ddp":
    model = DistributedDataParallel(net)
else:
    from torch.distributed.fsdp import fully_shard
    model = fully_shard(net)
torch.manual_seed(100 + rank)
generator = torch.Generator().manual_seed(1)
dataset = TensorDataset(
    torch.randn(256, 64, generator=generator), torch.randint(0, 4, (256,), generator=generator)
)
loss, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), lr=0.001)

def loader(batch_size):
    sampler = DistributedSampler(dataset, num_ranks, rank, shuffle=True)
    return DataLoader(dataset, batch_size, sampler=sampler)

def train(num_steps, batch_size):
    done = 0
    while done < num_steps:
        for inputs, labels in loader(batch_size):
            loss(model(inputs), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            dist.all_reduce(torch.ones(()), group=own)
            done += 1
            if done == num_steps:
                return

def local(tensor):
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor

def digest():
    seen = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
    state = [value for each in optimizer.state.values() for value in each.values()]
    for tensor in [*model.parameters(), *model.buffers(), *state]:
        seen.update(local(tensor.detach()).contiguous().numpy().tobytes())
    return seen.hexdigest()

train(3, 16)
told = {"rank": rank}
if sys.argv[2] == "call":
    options = {"goal": "memory", "max_batch_size": 32, "headroom": 0.0}
    if sys.argv[3:] == ["unequal"] and rank == 1:
        options["max_batch_size"] = 16
    try:
        finding = autobatch.find_batch_size(model, loader(16), loss, optimizer, **options)
        told |= {"batch_size": finding.batch_size}
        told |= {"global": finding.recommendation.global_batch_size}
    except autobatch.AutobatchError as error:
        told |= {"error": str(error), "hint": error.hint}
train(20, 32)
Path(sys.argv[0]).with_name(f"rank{rank}.json").write_text(json.dumps({**told, "digest": digest()}))
dist.destroy_process_group()
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(textwrap.dedent(TRAIN))
    return path


def torchrun(script: Path, *arguments: str, num_ranks: int = 2) -> list[dict[str, Any]]:
    """Run on ranks; what each of them told, by rank."""
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node",
         str(num_ranks), str(script), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    paths = [script.with_name(f"rank{rank}.json") for rank in range(num_ranks)]
    return [json.loads(path.read_text()) for path in paths]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("parallel", [pytest.param("ddp", marks=pytest.mark.slow), "fsdp2"])
def test_all_ranks_get_one_size_and_train_to_the_same_bits(script: Path, parallel: str) -> None:
    called = torchrun(script, parallel, "call")
    plain = torchrun(script, parallel, "none")
    assert [(each["batch_size"], each["global"]) for each in called] == [(32, 64), (32, 64)]
    assert [each["digest"] for each in called] == [each["digest"] for each in plain]


def test_a_rank_that_asks_for_something_else_is_an_error_on_all(script: Path) -> None:
    told = torchrun(script, "ddp", "call", "unequal")
    for each in told:
        assert "rank 1 asks with `max_batch_size=16`, and rank 0 with" in each["error"]
        assert each["hint"]


def test_the_command_line_under_a_launcher_prints_one_answer(tmp_path: Path) -> None:
    target = tmp_path / "target.py"
    target.write_text(
        "import torch\nmodel = torch.nn.Linear(10, 3)\n"
        "dataset = [(torch.randn(10), 1)] * 64\nbatch_size = 4\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "autobatch", "probe", str(target), "--goal", "memory", "--device", "cpu",
         "--max-batch-size", "8", "--json", "-q"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["batch_size"] == 8
    assert document["workload"]["num_ranks"] == 2

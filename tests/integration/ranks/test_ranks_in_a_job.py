"""``find_batch_size`` on every rank of a job that ``torchrun`` started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from fixtures.commands import start_autobatch

from autobatch.probe.worker.process import kill_with_descendants

if sys.platform != "linux":
    pytest.skip("forks", allow_module_level=True)

TARGET = """
import torch
model = torch.nn.Linear(10, 3)
dataset = [(torch.randn(10), 1)] * 64
batch_size = 4
"""
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
own = dist.new_group(list(range(num_ranks)))
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
@pytest.mark.parametrize(
    ("parallel", "num_ranks"), [pytest.param("ddp", 4, marks=pytest.mark.slow), ("fsdp2", 2)]
)
def test_all_ranks_get_one_size_and_train_to_the_same_bits(
    script: Path, parallel: str, num_ranks: int
) -> None:
    called = torchrun(script, parallel, "call", num_ranks=num_ranks)
    plain = torchrun(script, parallel, "none", num_ranks=num_ranks)
    answers = [(each["batch_size"], each["global"]) for each in called]
    assert answers == [(32, 32 * num_ranks)] * num_ranks
    assert [each["digest"] for each in called] == [each["digest"] for each in plain]


def test_a_rank_that_asks_for_something_else_is_an_error_on_all(script: Path) -> None:
    told = torchrun(script, "ddp", "call", "unequal")
    for each in told:
        assert "rank 1 asks with `max_batch_size=16`, and rank 0 with" in each["error"]
        assert each["hint"]


@pytest.fixture
def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@pytest.fixture
def on_two_nodes(
    tmp_path: Path, free_port: int
) -> Iterator[Callable[..., list[subprocess.Popen[str]]]]:
    """Starts ``autobatch probe`` under two launchers that stand for two nodes, one process each."""
    nodes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, code: str = TARGET) -> list[subprocess.Popen[str]]:
        target = tmp_path / "target.py"
        target.write_text(code)
        for node in range(2):
            nodes.append(
                subprocess.Popen(
                    [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--node-rank",
                     str(node), "--master-addr", "127.0.0.1", "--master-port", str(free_port),
                     "--nproc-per-node", "1", "-m", "autobatch", "probe", str(target), "--device",
                     "cpu", "--json", *arguments],
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                )
            )  # fmt: skip
        return nodes

    yield start
    for each in nodes:
        kill_with_descendants(each)
        each.communicate()


@pytest.mark.slow
def test_a_launcher_that_starts_all_anew_gets_an_answer(tmp_path: Path) -> None:
    dies_once = """
import os, signal
if (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]) == ("1", "0"):
    os.kill(os.getppid(), signal.SIGKILL)
"""
    target = tmp_path / "target.py"
    target.write_text(dies_once + TARGET)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", "1",
         "--nproc-per-node", "2", "-m", "autobatch", "probe", str(target), "--goal", "memory",
         "--device", "cpu", "--max-batch-size", "8", "--json", "-q"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["batch_size"] == 8


@pytest.mark.slow
def test_processes_of_srun_meet_where_their_script_says(tmp_path: Path, free_port: int) -> None:
    target = tmp_path / "target.py"
    target.write_text(TARGET + "import os\nassert os.environ['WORLD_SIZE'] == '2'\n")
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port)}
    tasks = []
    for rank in range(2):
        place = {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)}
        tasks.append(
            start_autobatch(
                "probe", target, "--goal", "memory", "--device", "cpu", "--max-batch-size", "8",
                "--json", "-q", SLURM_STEP_NUM_TASKS="2", **place, **meeting,
            )
        )  # fmt: skip
    first, second = (each.communicate(timeout=240) for each in tasks)
    assert [each.returncode for each in tasks] == [0, 0], first[1] + second[1]
    assert json.loads(first[0])["batch_size"] == 8
    assert second == ("", "")


def test_the_command_line_on_two_nodes_prints_one_answer(
    on_two_nodes: Callable[..., list[subprocess.Popen[str]]],
) -> None:
    nodes = on_two_nodes("--goal", "memory", "--max-batch-size", "8", "-q")
    first, second = (each.communicate(timeout=240) for each in nodes)
    assert [each.returncode for each in nodes] == [0, 0], first[1] + second[1]
    document = json.loads(first[0])
    assert document["batch_size"] == 8
    assert document["workload"]["num_ranks"] == 2
    assert second == ("", "")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("lost", [0, 1])
def test_a_node_that_is_lost_ends_the_search_on_the_other(
    on_two_nodes: Callable[..., list[subprocess.Popen[str]]], lost: int
) -> None:
    slow = """
def training_step(model, batch):
    time.sleep(0.5)
    return model(batch[0]).sum()
"""
    nodes = on_two_nodes("--trial-timeout", "200s", code="import time" + TARGET + slow)
    assert nodes[0].stderr is not None
    next(line for line in nodes[0].stderr if "batch 1:" in line)
    left = psutil.Process(nodes[1 - lost].pid).children(recursive=True)
    kill_with_descendants(nodes[lost])
    _, stderr = nodes[1 - lost].communicate(timeout=100)
    assert nodes[1 - lost].returncode != 0
    expected = "rank 1 has told nothing for 20 s" if lost else "the store of the 2 ranks is gone"
    assert expected in stderr
    assert not psutil.wait_procs(left, timeout=10)[1]

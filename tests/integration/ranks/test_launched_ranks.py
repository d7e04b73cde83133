"""``autobatch probe --nproc-per-node``: real processes, real collectives."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fixtures.commands import run_autobatch

if sys.platform != "linux":
    pytest.skip("forks", allow_module_level=True)

TARGET = """
import os
import torch
from torch import nn
blocks = [nn.Sequential(nn.Linear(512, 512), nn.ReLU()) for _ in range(8)]
model = nn.Sequential(*blocks, nn.Linear(512, 10))
dataset = torch.utils.data.TensorDataset(torch.randn(200, 512), torch.randint(0, 10, (200,)))
loss = nn.CrossEntropyLoss()
optimizer = lambda parameters: torch.optim.Adam(parameters, lr=0.001)
batch_size = 16
assert os.environ["WORLD_SIZE"] == "2"
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "target.py"
    path.write_text(TARGET)
    return path


def probe(target: Path, *arguments: str) -> dict[str, Any]:
    done = run_autobatch(
        "probe", target, "--nproc-per-node", "2", "--goal", "memory", "--device", "cpu",
        "--max-batch-size", "16", "--json", "-q", *arguments,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.slow
def test_two_searches_side_by_side_each_find_one_size_for_their_ranks(target: Path) -> None:
    with ThreadPoolExecutor() as pool:
        ddp = pool.submit(probe, target)
        fsdp2 = pool.submit(probe, target, "--parallel", "fsdp2")
    documents = {"DDP": ddp.result(), "FSDP2": fsdp2.result()}
    for name, document in documents.items():
        assert document["batch_size"] == 16
        assert document["workload"]["num_ranks"] == document["num_devices"] == 2
        assert document["workload"]["parallel"] == name
        assert document["global_batch_size"] == 32
        # What is trained with now is 16 on each of two ranks.
        assert document["learning_rate_multiplier"] == 1.0
        assert document["iterations_per_epoch"] == 7
        assert "shared by 2 ranks" in document["bound_by"]
        trial = document["trials"][-1]
        assert [each["rank"] for each in trial["ranks"]] == [0, 1]
        assert trial["peak_bytes"] == max(each["peak_bytes"] for each in trial["ranks"])
    # A gradient each for DDP; FSDP2 gathers the parameters twice as well.
    ddp, fsdp2 = (
        {
            each["collective"]: each["num_bytes"]
            for each in found["trials"][-1]["ranks"][0]["exchanges"]
        }
        for found in documents.values()
    )
    num_bytes = 4 * documents["DDP"]["workload"]["num_parameters"]
    assert ddp == {"all-reduce": num_bytes}
    assert set(fsdp2) == {"all-gather", "reduce-scatter"}
    # What it gathers for the forward and for the backward pass, but for the last block.
    assert num_bytes < fsdp2["all-gather"] <= 2.1 * num_bytes
    assert fsdp2["reduce-scatter"] == pytest.approx(num_bytes, rel=0.05)


def test_a_slow_rank_gets_a_smaller_size_and_one_rank_by_itself_is_compared(tmp_path: Path) -> None:
    target = tmp_path / "target.py"
    target.write_text(
        "import os, time, torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def forward(self, inputs):\n"
        "        time.sleep((0.001 if os.environ['RANK'] == '1' else 0.0005) * len(inputs))\n"
        "        return super().forward(inputs)\n"
        "model = Net(10, 3)\n"
        "dataset = [(torch.randn(10), 1)] * 1000\n"
    )
    done = run_autobatch(
        "probe", target, "--nproc-per-node", "2", "--per-rank", "--device", "cpu",
        "--min-batch-size", "60", "--max-batch-size", "60", "--json", "-q",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    group = json.loads(done.stdout)["group"]
    sizes = [each["batch_size"] for each in group["sizes"]]
    assert sum(sizes) == 120
    assert 70 < sizes[0] < 90, "80 and 40 by their sleep alone"
    weights = [each["loss_weight"] for each in group["sizes"]]
    assert weights == pytest.approx([size / 60 for size in sizes])
    # Of 60 samples rank 0 sleeps 30 ms and rank 1 60 ms; with their own sizes 40 ms both.
    assert 0.4 < group["scaling_efficiency"] < 0.65
    assert group["sizes_step_time_s"] < 0.85 * group["together_step_time_s"]


def test_an_error_of_the_target_names_the_rank_and_shows_its_traceback(target: Path) -> None:
    target.write_text(TARGET + "if os.environ['RANK'] == '1': raise ValueError('only here')\n")
    done = run_autobatch("probe", target, "--nproc-per-node", "2", "--device", "cpu")
    assert done.returncode == 2
    assert "rank 1: " in done.stderr
    assert "only here" in done.stderr

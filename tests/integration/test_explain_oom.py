"""Trainings that run out of memory under a real limit, and what is said of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA is Linux' own")

START = """
import resource, sys, torch, autobatch
from torch import nn

torch.set_num_threads(1)

def limit(growth_mib):
    [line] = [each for each in open("/proc/self/status") if each.startswith("VmData")]
    bound = int(line.split()[1]) * 1024 + growth_mib * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
"""
FORWARD = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 256), nn.Linear(256, 512), nn.Linear(512, 32768))

    def forward(self, x):
        return self.layers(x)

model = Net()
optimizer = torch.optim.Adam(model.parameters())
model(torch.randn(4, 64)).sum().backward()
optimizer.step()
limit(400)
with autobatch.explain_oom():
    model(torch.randn(8192, 64)).sum().backward()
"""
BACKWARD = """
autobatch.explain_oom().install()
widths = nn.Linear(64, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10)
model = nn.Sequential(*widths)
optimizer = torch.optim.Adam(model.parameters())

def train(batch_size):
    x, y = torch.randn(batch_size, 64), torch.randint(10, (batch_size,))
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()

train(4)
limit(210)
train(int(sys.argv[1]))
"""
STEP = """
class Trainer:
    def __init__(self):
        self.model = nn.Sequential(nn.Linear(64, 4096), nn.Linear(4096, 4096))
        self.optimizer = torch.optim.AdamW(self.model.parameters())

    @autobatch.explain_oom()
    def run(self):
        self.model(torch.randn(4, 64)).sum().backward()
        limit(80)
        self.optimizer.step()

Trainer().run()
"""
NO_MODEL = """
kept = torch.zeros(4096, 4096)
limit(50)
with autobatch.explain_oom():
    torch.zeros(100, 1000, 1000)
"""


def run(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(START + code)
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def words_of(code: str, *arguments: str, folder: Path) -> str:
    done = run(code, *arguments, folder=folder)
    assert done.returncode == 1
    # The error itself is still told, and once; an explanation goes with it.
    assert done.stderr.count("\nRuntimeError: ") == 1, done.stderr
    assert done.stderr.count("autobatch: why memory ran out") == 1, done.stderr
    return " ".join(done.stderr.partition("autobatch: why memory ran out")[2].split())


def test_it_names_the_third_layer_and_what_it_was_making(tmp_path: Path) -> None:
    words = words_of(FORWARD, folder=tmp_path)
    made = "1.0 GiB in the forward pass of layers.2 (Linear): its output, 8192x32768 float32"
    assert f"being made {made}" in words
    assert "from 8192x512 float32 (16.0 MiB)" in words
    # 64 x 256 + 256 + 256 x 512 + 512 + 512 x 32768 + 32768 parameters, of four bytes each.
    assert "weights 64.7 MiB, gradients 64.7 MiB, optimizer state 129 MiB" in words
    assert "limit RLIMIT_DATA (ulimit -d)" in words
    assert "batch size at most 2,048 would have fitted instead of 8,192" in words
    assert "the rest of the step needs more" in words


def test_the_size_it_says_after_a_backward_pass_fits(tmp_path: Path) -> None:
    words = words_of(BACKWARD, "8192", folder=tmp_path)
    assert "in the backward pass" in words
    told = words.partition("batch size about ")[2].partition(" would have fitted")[0]
    size = int(told.replace(",", ""))
    assert 1024 <= size <= 4096
    assert run(BACKWARD, str(size), folder=tmp_path).returncode == 0


def test_an_optimizer_step_names_the_parameter_and_no_batch_size(tmp_path: Path) -> None:
    words = words_of(STEP, folder=tmp_path)
    assert "64.0 MiB in the step of AdamW, as large as 1.weight, 4096x4096 float32" in words
    assert "gradients 65.0 MiB" in words
    assert "batch size" not in words


def test_without_a_model_it_tells_what_tensors_there_are(tmp_path: Path) -> None:
    words = words_of(NO_MODEL, folder=tmp_path)
    assert "being made 381 MiB resident" in words
    assert "tensors 64.0 MiB, the largest of them 4096x4096 float32" in words
    assert "batch size" not in words

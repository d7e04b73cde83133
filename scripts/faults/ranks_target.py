"""What ``scripts.faults.ranks`` trains: one of its ranks is struck at a moment of a step.

The file named by ``AUTOBATCH_RANK_FAULT`` says what happens; without it nothing does.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

FAULT, WIDTH, NUM_BLOCKS = os.environ["AUTOBATCH_RANK_FAULT"], 256, 3
RANK = int(os.environ["RANK"])
# From the middle of the backward pass to the collectives behind it.
INTO_COLLECTIVE_S = 0.002
ENDLESS_S = 1e6
step = 0


def strike(moment: str) -> None:
    """Let the fault happen, if it is for this rank, this moment and this step."""
    if not os.path.exists(FAULT):
        return
    with open(FAULT) as file:
        fault = json.load(file)
    if (fault["rank"], fault["moment"], fault["step"]) != (RANK, moment, step):
        return
    kind = fault["kind"]
    if moment == "collective" and kind in ("sigkill", "sigstop", "dead_worker"):
        threading.Timer(INTO_COLLECTIVE_S, happen, [kind]).start()
    else:
        happen(kind)


def happen(kind: str) -> None:
    """Do it."""
    if kind == "out_of_memory":
        held = [torch.empty(2**28, dtype=torch.uint8) for _ in range(1000)]
        raise AssertionError(f"there was memory for {len(held)} times 256 MiB")
    if kind == "exception":
        raise ValueError("a bug in the training code")
    if kind == "sigkill":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "sigstop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if kind == "dead_worker":
        os.remove(FAULT)  # once: the ranks that take their place are whole
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(ENDLESS_S)
    if kind in ("hang", "never_arrives"):
        time.sleep(ENDLESS_S)
    if kind == "ctrl_c":
        with open(FAULT) as file:
            os.kill(json.load(file)["leader"], signal.SIGINT)


class StrikesBackward(torch.autograd.Function):
    """Passes everything through; its backward pass may be struck."""

    @staticmethod
    def forward(context: Any, inputs: torch.Tensor) -> torch.Tensor:
        """A copy."""
        return inputs.clone()

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """The gradient itself."""
        strike("backward")
        if not isinstance(model_in_use, DistributedDataParallel):
            strike("collective")
        return gradients[0]


class Block(nn.Module):
    """A part of the model that may be struck."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """A layer, and a place for faults."""
        return StrikesBackward.apply(self.linear(inputs).relu())


class Struck(nn.Module):
    """Strikes in the middle of the forward pass."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """The inputs themselves."""
        strike("forward")
        return inputs


def parallelize(model: nn.Module) -> nn.Module:
    """DDP with a hook before each exchange, or FSDP2."""
    global model_in_use
    if os.environ["AUTOBATCH_RANK_PARALLEL"] == "ddp":
        model_in_use = DistributedDataParallel(model)
        model_in_use.register_comm_hook(None, struck_hook)
    else:
        for block in model:
            if isinstance(block, Block):
                fully_shard(block)
        model_in_use = fully_shard(model)
    return model_in_use


def struck_hook(state, bucket):  # type: ignore[no-untyped-def]  # DDP reads annotations itself
    """The usual exchange of DDP, behind a place for faults."""
    strike("collective")
    return allreduce_hook(dist.group.WORLD, bucket)


class Samples(torch.utils.data.IterableDataset[Any]):
    """Endless samples, or a few for the rank that is struck by having too few."""

    def __iter__(self) -> Iterator[Any]:
        """Samples of random data."""
        strike("data")
        few = 0
        if os.path.exists(FAULT):
            with open(FAULT) as file:
                fault = json.load(file)
            few = fault["kind"] == "unequal_batches" and fault["rank"] == RANK
        for _ in range(3 if few else 10**9):
            yield torch.randn(WIDTH), int(torch.randint(0, 10, ()))


def optimizer_step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Step, behind a place for faults, and count."""
    global step
    strike("optimizer")
    optimizer.step()
    step += 1


torch.manual_seed(0)
model_in_use: nn.Module
model = nn.Sequential(
    nn.Linear(WIDTH, WIDTH),
    Struck(),
    *(Block() for _ in range(NUM_BLOCKS)),
    nn.Linear(WIDTH, 10),
)
dataset = Samples()
loss = nn.CrossEntropyLoss()
optimizer = torch.optim.AdamW
batch_size = 16

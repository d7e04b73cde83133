"""What every piece of work starts from, and what it does not leave behind."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager

import numpy
import torch

from autobatch.devices.base import Device
from autobatch.devices.sticky import undo_at_end


def start_anew(device: Device, seed: int) -> None:
    """Start every piece of work alike: same seeds, no garbage, threads running.

    Args:
        device: Its cache is released.
        seed: Of every random generator.
    """
    seed_everything(seed)
    device.release()
    start_threads()


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and PyTorch on every device."""
    random.seed(seed)
    numpy.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def start_threads() -> None:
    """Have PyTorch start its threads while there is memory for their stacks.

    Without a large allocation: once one is freed, glibc serves all that are smaller from its heap
    (``man 3 mallopt``, ``M_MMAP_THRESHOLD``), and steps of small batches take fewer page faults
    than in a training.
    """
    torch.zeros(()).expand(2**20).sum()


def drop_gradients_at_end(optimizer: torch.optim.Optimizer) -> AbstractContextManager[None]:
    """Drop the optimizer's gradients at the end, and what a backward pass that failed has left.

    On the CPU the nodes that such a pass had not come to stay in a queue of this thread, with the
    activations that they saved (``local_ready_queue`` in PyTorch's ``engine.cpp``). The queue hands
    out the newest node first, so a backward pass of a node made before them comes to all of them.

    Args:
        optimizer: Has the parameters.
    """
    with torch.enable_grad():
        oldest = torch.zeros((), device="cpu", requires_grad=True) * 1

    def drop() -> None:
        optimizer.zero_grad(set_to_none=True)
        oldest.backward()  # type: ignore[no-untyped-call]

    return undo_at_end(drop)

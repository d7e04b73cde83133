"""What every piece of work starts from."""

from __future__ import annotations

import random

import numpy
import torch

from autobatch.devices.base import Device


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

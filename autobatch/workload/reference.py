"""Small fixed training steps to hold a machine against: ``autobatch check --reference builtin``.

What a machine suffers from is not the same for all that it may compute: a neighbour who takes
memory bandwidth slows large tensors, one who takes a core slows what waits for all threads, and
a slower clock slows everything. So there is one for each kind of work, and a check takes that which
is made of the same as the target. They must stay as they are: baselines hold ratios to them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from autobatch.workload.contract import Workload

Batch = tuple[torch.Tensor, torch.Tensor]
_NUM_CLASSES = 10


def convolutions() -> Workload:
    """Convolutions with all that goes with them, and an optimizer bound by memory."""
    model = nn.Sequential(
        nn.Conv2d(3, 24, kernel_size=3, padding=1),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(24, 32, kernel_size=3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 8 * 8, 256),
        nn.GELU(),
        nn.Linear(256, _NUM_CLASSES),
    )
    return _make_workload(model, (3, 16, 16), torch.optim.AdamW)


def linear() -> Workload:
    """Matrix products, as multilayer perceptrons and transformers are made of."""
    blocks = [
        nn.Sequential(nn.LayerNorm(256), nn.Linear(256, 512), nn.GELU(), nn.Linear(512, 256))
        for _ in range(3)
    ]
    return _make_workload(
        nn.Sequential(*blocks, nn.Linear(256, _NUM_CLASSES)), (256,), torch.optim.SGD
    )


def calls() -> Workload:
    """Many operations on next to nothing, so that calling them is what takes the time."""
    blocks = [nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(24)]
    return _make_workload(
        nn.Sequential(*blocks, nn.Linear(16, _NUM_CLASSES)), (16,), torch.optim.SGD
    )


def _make_workload(
    model: nn.Module, shape: tuple[int, ...], optimizer: Callable[..., torch.optim.Optimizer]
) -> Workload:
    batches: dict[int, Batch] = {}

    def make_batch(batch_size: int) -> Batch:
        """Noise and random classes; the same ones at every call."""
        if batch_size not in batches:
            generator = torch.Generator().manual_seed(0)
            samples = torch.randn(batch_size, *shape, generator=generator)
            labels = torch.randint(_NUM_CLASSES, (batch_size,), generator=generator)
            batches[batch_size] = samples, labels
        return batches[batch_size]

    return Workload(
        model=model,
        batch=make_batch,
        loss=nn.CrossEntropyLoss(),
        optimizer=lambda parameters: optimizer(parameters, lr=0.0),
    )

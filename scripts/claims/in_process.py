"""What ``find_batch_size`` costs in the middle of training beside its trials, and what it leaves.

A model is trained for a few steps with Adam, and then searched in this process
(``isolation="shared"``, as on GPUs). Printed: the time of the search, of the trials in it and
beside them; the host memory that the process held at its highest and its budget; whether model,
optimizer and gradients are bitwise as before. Exit status 1 if the time beside the trials is a
tenth of the search or more, the memory exceeded its budget, or anything has changed.

    python -m scripts.claims.in_process [--megabytes 300] [--time-limit 120]
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from typing import Any

import torch
from torch import nn

from autobatch import find_batch_size
from autobatch.devices import linux
from autobatch.devices.cpu import CpuDevice
from autobatch.probe.worker import loaded
from autobatch.records import MemoryBudget
from autobatch.units import format_bytes, format_fraction, format_seconds

_WIDTH = 2048
_MOST_BESIDE_FRACTION = 0.1


def main() -> int:
    """Search and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=300, help="size of the weights")
    parser.add_argument("--time-limit", type=float, default=120.0, help="of the search, in seconds")
    arguments = parser.parse_args()
    model, optimizer, data = train(arguments.megabytes * 10**6)
    before, num_bytes = digest(model, optimizer)
    print(f"weights, gradients and Adam's state: {format_bytes(num_bytes)}")
    trials_s = time_trials()
    budget = MemoryBudget.from_bounds(CpuDevice().bounds(None), headroom_fraction=0.1)
    linux.reset_peak()
    begin = time.perf_counter()
    finding = find_batch_size(
        model,
        data,
        loss=nn.MSELoss(),
        optimizer=optimizer,
        isolation="shared",
        time_limit=arguments.time_limit,
    )
    search_s = time.perf_counter() - begin
    peak_bytes = linux.read_status_bytes()["VmHWM"]
    beside_s = search_s - sum(trials_s)
    is_same = digest(model, optimizer)[0] == before
    print(
        f"search {format_seconds(search_s)}: {len(trials_s)} trials of "
        f"{format_seconds(sum(trials_s))}, beside them {format_seconds(beside_s)} "
        f"({format_fraction(beside_s / search_s)}); answer {finding.batch_size}"
    )
    limit = format_bytes(budget.budget_bytes)
    print(f"host memory: at most {format_bytes(peak_bytes)}, budget {limit}")
    print("model, gradients and optimizer: " + ("bitwise as before" if is_same else "CHANGED"))
    is_cheap = beside_s < _MOST_BESIDE_FRACTION * search_s
    return 0 if is_same and is_cheap and peak_bytes <= budget.budget_bytes else 1


def train(num_bytes: int) -> tuple[nn.Module, torch.optim.Optimizer, Any]:
    """A model of that size in the middle of its training, and its data."""
    torch.manual_seed(0)
    num_layers = max(1, round(num_bytes / (4 * _WIDTH**2)))
    layers = [nn.Sequential(nn.Linear(_WIDTH, _WIDTH), nn.ReLU()) for _ in range(num_layers)]
    model = nn.Sequential(*layers, nn.BatchNorm1d(_WIDTH))
    data = torch.utils.data.TensorDataset(torch.randn(4096, _WIDTH), torch.randn(4096, _WIDTH))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(data.tensors[0][:8]), data.tensors[1][:8]).backward()
        optimizer.step()
    return model, optimizer, data


def digest(model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[str, int]:
    """A hash of all that they hold, and its size in bytes."""
    hashed, num_bytes = hashlib.sha256(), 0
    tensors = [*model.state_dict().values(), *(each.grad for each in model.parameters())]
    for state in optimizer.state.values():
        tensors += state.values()
    for tensor in tensors:
        content = tensor.detach().contiguous().view(-1).view(torch.uint8).numpy()
        hashed.update(content)
        num_bytes += content.nbytes
    return hashed.hexdigest(), num_bytes


def time_trials() -> list[float]:
    """Seconds of each trial from now on."""
    run_trial, times_s = loaded.run_trial, []

    def timed(*arguments: Any, **options: Any) -> Any:
        begin = time.perf_counter()
        try:
            return run_trial(*arguments, **options)
        finally:
            times_s.append(time.perf_counter() - begin)

    loaded.run_trial = timed
    return times_s


if __name__ == "__main__":
    sys.exit(main())

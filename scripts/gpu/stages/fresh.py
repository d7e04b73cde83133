"""Trains one size in this process, which has done nothing else, and prints what it took as JSON."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import torch

from autobatch.devices.select import select_device
from scripts.gpu.stages.bench import PlainTraining

_NUM_STEPS, _LONGEST_S = 100, 6.0


def main() -> int:
    """Train."""
    target, batch_size, device, budget_bytes = sys.argv[1:]
    is_gpu = device.startswith("cuda")
    opened = select_device(device)
    training = PlainTraining(target, device)
    num_steps = _NUM_STEPS if is_gpu else 3
    if is_gpu:
        total_bytes = torch.cuda.mem_get_info(device)[1]
        overhead_bytes = (opened.read_peak().peak_bytes or 0) - torch.cuda.memory_reserved(device)
        fraction = (int(budget_bytes) - overhead_bytes) / total_bytes
        torch.cuda.set_per_process_memory_fraction(min(1.0, fraction), device)
    run = training.run(int(batch_size), num_steps=num_steps, num_chained=0, longest_s=_LONGEST_S)
    process_bytes = opened.read_peak().peak_bytes
    print(json.dumps({**asdict(run), "process_bytes": process_bytes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The truth about the allocator, from plain training: what the model of it is held against."""

from __future__ import annotations

import gc
import pickle
from dataclasses import asdict
from typing import Any

import torch

from scripts.gpu.stages.bench import Bench, PlainRun, PlainTraining

_SIZES = {True: (1, 16, 64), False: (1, 4)}
_NUM_HALVINGS = 6
_LARGEST_SNAPSHOT_BYTES = 16 * 2**20


def run_allocator(bench: Bench) -> None:
    """Peaks by step in a fresh training and after another size, the least cap, snapshots."""
    found: dict[str, Any] = {}
    for target in bench.targets:
        training = PlainTraining(target, bench.device)
        fresh: list[dict[str, Any]] = []
        found[target] = {"fresh": fresh}
        for size in _SIZES[bench.is_gpu]:
            fresh.append(asdict(training.run(size)))
            bench.save(targets=found)
        again = training.run(_SIZES[bench.is_gpu][-1])
        found[target]["after_smaller_sizes"] = asdict(again)
        bench.save(targets=found)
        bench.claim(
            f"{target}: a peak does not depend on what ran before",
            again.peaks_bytes == fresh[-1]["peaks_bytes"],
            f"{again.peaks_bytes} after, {fresh[-1]['peaks_bytes']} before, by step",
        )
        if bench.is_gpu:
            found[target]["least_cap_bytes"] = find_least_cap(training, again, bench.device)
            bench.save(targets=found)
            found[target]["snapshot"] = save_snapshot(bench, training, target)
            bench.save(targets=found)
        del training
        gc.collect()


def find_least_cap(training: PlainTraining, run: PlainRun, device: str) -> dict[str, Any]:
    """Bisect the fraction of the memory at which a size still trains.

    Args:
        training: What to train.
        run: An uncapped run of the size.
        device: Where.
    """
    total_bytes = torch.cuda.mem_get_info(device)[1]
    low, high = run.allocated_bytes, max(run.peaks_bytes)
    retries: list[int] = []
    for _ in range(_NUM_HALVINGS):
        middle = (low + high) // 2
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(middle / total_bytes, device)
        capped = training.run(run.batch_size, num_chained=0)
        low, high = (low, middle) if capped.fits else (middle, high)
        retries = capped.retries if capped.fits else retries
    torch.cuda.set_per_process_memory_fraction(1.0, device)
    return {"batch_size": run.batch_size, "cap_bytes": high, "retries_by_step": retries}


def save_snapshot(bench: Bench, training: PlainTraining, target: str) -> str:
    """Record the allocator's events of three steps; the file's name, or why there is none."""
    torch.cuda.memory._record_memory_history(max_entries=200_000, stacks="python", context=None)
    training.run(_SIZES[True][0], num_steps=3, num_chained=0)
    snapshot = torch.cuda.memory._snapshot()
    torch.cuda.memory._record_memory_history(enabled=None)
    data = pickle.dumps(snapshot)
    if len(data) > _LARGEST_SNAPSHOT_BYTES:
        return f"left out: {len(data)} bytes"
    name = f"snapshot-{target.replace(':', '-').replace('/', '-')}.pickle"
    (bench.out / name).write_bytes(data)
    return name

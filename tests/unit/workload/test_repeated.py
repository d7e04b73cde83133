"""Batches that are made once."""

from __future__ import annotations

import torch

from autobatch.workload.repeated import KeptBatches, RepeatedSource


def test_a_batch_is_made_and_pinned_once_for_all_trials_of_its_size() -> None:
    made: list[int] = []
    pinned: list[int] = []

    def make(size: int) -> torch.Tensor:
        made.append(size)
        return torch.ones(size, 4)

    def pin(batch: torch.Tensor) -> torch.Tensor:
        pinned.append(len(batch))
        return batch

    source = RepeatedSource(make, "made")
    source.keep_batches(pin)
    for size in (1, 2, 1, 2, 2, 1):
        assert len(next(source.batches(size))) == size
    assert made == pinned == [1, 2]


def test_batches_that_take_too_much_memory_are_made_again_the_oldest_first() -> None:
    made: list[int] = []

    def make(size: int) -> dict[str, torch.Tensor]:
        made.append(size)
        return {"inputs": torch.ones(size, 256, dtype=torch.uint8)}

    kept = KeptBatches(make, most_bytes=4 * 256)
    for size in (1, 2, 1, 3, 1, 2, 8, 8, 1):
        assert kept(size)["inputs"].shape[0] == size
    assert made == [1, 2, 3, 2, 8, 1]

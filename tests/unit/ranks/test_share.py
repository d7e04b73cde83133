"""What the ranks of one host share."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, DistributedSampler, SequentialSampler, TensorDataset

from autobatch.ranks.share import share_bounds, share_samples
from autobatch.records import MemoryBound
from autobatch.workload.batches import LoaderSource, make_source
from autobatch.workload.contract import Workload

GIB = 2**30


def says(own_gib: float, **free_gib: float) -> dict[str, object]:
    free_bytes = {name.replace("_", " "): round(GIB * free) for name, free in free_gib.items()}
    return {"own_bytes": round(GIB * own_gib), "free_bytes": free_bytes}


def test_each_rank_has_an_equal_part_of_what_is_free_and_what_all_hold() -> None:
    seen = (MemoryBound.of("physical memory", 16 * GIB, 9 * GIB),)
    ranks = [says(1, physical_memory=8), says(3, physical_memory=8)]
    (bound,) = share_bounds(seen, ranks)
    assert (bound.capacity_bytes, bound.available_bytes) == (8 * GIB, 6 * GIB)
    assert bound.name == "physical memory, shared by 2 ranks"


def test_a_limit_of_the_user_is_for_all_of_them() -> None:
    seen = (MemoryBound.of_user(4 * GIB),)
    ranks = [says(1, memory_limit=3), says(1, memory_limit=3), says(1, memory_limit=3)]
    (bound,) = share_bounds(seen, ranks)
    assert bound.capacity_bytes == bound.available_bytes == 4 * GIB // 3


def test_the_least_that_any_rank_saw_to_be_free_counts() -> None:
    seen = (MemoryBound.of("physical memory", 16 * GIB, 9 * GIB),)
    ranks = [says(1, physical_memory=8), says(1, physical_memory=2)]
    assert share_bounds(seen, ranks)[0].available_bytes == 2 * GIB


def test_a_limit_on_each_process_is_not_shared() -> None:
    seen = (MemoryBound.of("RLIMIT_DATA (ulimit -d)", 4 * GIB, 3 * GIB),)
    assert share_bounds(seen, [says(1), says(1)]) == seen


def make_loader_source(**options: object) -> LoaderSource:
    dataset = TensorDataset(torch.arange(10))
    loader = DataLoader(dataset, batch_size=2, **options)  # type: ignore[arg-type]
    source = make_source(Workload(model=torch.nn.Linear(1, 1), train_loader=loader))
    assert isinstance(source, LoaderSource)
    return source


def drawn(source: LoaderSource) -> set[int]:
    batches = source.batches(5)
    return set(next(batches)[0].tolist())


def test_ranks_draw_different_samples_as_in_training() -> None:
    parts = []
    for rank in range(2):
        shared = share_samples(make_loader_source(shuffle=True), rank, 2)
        assert isinstance(shared, LoaderSource)
        assert shared.dataset_size == 10
        parts.append(drawn(shared))
    assert parts[0].isdisjoint(parts[1])
    assert parts[0] | parts[1] == set(range(10))


def test_an_order_without_shuffling_stays_one() -> None:
    shared = share_samples(make_loader_source(sampler=SequentialSampler(range(10))), 1, 2)
    assert isinstance(shared, LoaderSource)
    assert next(shared.batches(5))[0].tolist() == [1, 3, 5, 7, 9]


def test_the_users_own_sampler_for_ranks_is_kept() -> None:
    own = DistributedSampler(range(10), 2, 0, shuffle=False)
    source = make_loader_source(sampler=own)
    assert share_samples(source, 1, 2) is source
    assert source.dataset_size == 10


def test_a_function_of_the_batch_size_is_called_on_each_rank() -> None:
    source = make_source(Workload(model=torch.nn.Linear(1, 1), batch=lambda size: torch.ones(size)))
    assert share_samples(source, 1, 2) is source

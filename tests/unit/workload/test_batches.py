"""Every way to give data, batched at any size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from autobatch.workload.batches import check_batch_size, make_source
from autobatch.workload.contract import Workload
from autobatch.workload.tensors import find_tensors

MODEL = torch.nn.Linear(4, 3)


class Numbers(Dataset[torch.Tensor]):
    """The numbers from 0."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(float(index))


class Stream(IterableDataset[torch.Tensor]):
    """The numbers from 0, to an end or without one."""

    def __init__(self, count: int | None) -> None:
        self.count = count

    def __iter__(self) -> Iterator[torch.Tensor]:
        numbers = itertools.count() if self.count is None else iter(range(self.count))
        return (torch.tensor(float(number)) for number in numbers)


def _source(**fields: Any) -> Any:
    return make_source(Workload(model=MODEL, **fields))


def _take(source: Any, batch_size: int, count: int) -> list[Any]:
    return list(itertools.islice(source.batches(batch_size), count))


def test_a_map_style_data_set_gives_batches_without_end() -> None:
    source = _source(dataset=Numbers(10))
    batches = _take(source, 4, 7)  # an epoch has two whole ones
    assert [len(batch) for batch in batches] == [4] * 7
    assert source.dataset_size == 10
    assert source.num_loader_workers == 0
    assert source.description == "dataset (Numbers)"


def test_a_data_set_is_shuffled_and_no_sample_comes_twice_in_an_epoch() -> None:
    torch.manual_seed(0)
    (epoch,) = _take(_source(dataset=Numbers(100)), 100, 1)
    assert sorted(epoch.tolist()) == list(range(100))
    assert epoch.tolist() != list(range(100))


def test_the_data_sets_own_size_can_be_batched() -> None:
    assert len(_take(_source(dataset=Numbers(7)), 7, 2)[1]) == 7


def test_a_list_of_tuples_is_a_data_set() -> None:
    inputs, targets = _take(_source(dataset=[(torch.ones(4), 1)] * 6), 3, 1)[0]
    assert inputs.shape == (3, 4)
    assert targets.tolist() == [1, 1, 1]


def test_a_collate_function_makes_the_batches_of_a_data_set() -> None:
    source = _source(dataset=Numbers(8), collate_fn=lambda samples: ("mine", len(samples)))
    assert _take(source, 4, 1) == [("mine", 4)]


def test_a_stream_with_an_end_is_counted_and_begun_again() -> None:
    source = _source(dataset=Stream(10))
    assert source.dataset_size == 10
    assert [batch.tolist() for batch in _take(source, 4, 3)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [0, 1, 2, 3],
    ]


def test_a_stream_without_an_end_has_no_size() -> None:
    source = _source(dataset=Stream(None))
    assert source.dataset_size is None
    assert _take(source, 3, 2)[1].tolist() == [3, 4, 5]


def test_a_data_set_that_only_says_that_it_has_no_length_has_no_size() -> None:
    class Unsized(Numbers):
        def __len__(self) -> int:
            raise TypeError("unknown")

    loader = DataLoader(Unsized(5), sampler=[0, 1, 2, 3])
    assert _source(train_loader=loader).dataset_size == 4


def test_a_batch_larger_than_the_data_set_is_an_error(error_of: Any) -> None:
    error = error_of(_take, _source(dataset=Numbers(3)), 4, 1)
    assert "ended before one batch of 4 samples" in str(error)
    assert "`max_batch_size`" in error.hint


def test_no_samples_are_an_error(error_of: Any) -> None:
    assert "0 samples" in str(error_of(_source, dataset=Numbers(0)))
    assert "0 samples" in str(error_of(_source, dataset=Stream(0)))


def test_what_cannot_be_indexed_is_no_data_set(error_of: Any) -> None:
    error = error_of(_source, dataset=(number for number in range(3)))
    assert "'dataset' is a generator" in str(error)
    assert "batch(batch_size)" in error.hint


def test_a_loader_keeps_all_but_its_batch_size() -> None:
    loader = DataLoader(
        Numbers(12),
        batch_size=5,
        num_workers=2,
        collate_fn=torch.stack,
        worker_init_fn=print,
        prefetch_factor=3,
        timeout=30,
        persistent_workers=True,
        multiprocessing_context="fork",
    )
    source = _source(train_loader=loader)
    assert source.description == "train_loader (Numbers, 2 workers)"
    assert source.num_loader_workers == 2
    assert source.dataset_size == 12
    kept = source._options
    assert kept["collate_fn"] is torch.stack
    assert kept["worker_init_fn"] is print
    assert (kept["prefetch_factor"], kept["timeout"]) == (3, 30)
    assert kept["persistent_workers"] is True
    assert kept["multiprocessing_context"].get_start_method() == "fork"


def test_a_loaders_workers_make_the_batches() -> None:
    loader = DataLoader(Numbers(12), batch_size=5, num_workers=2, collate_fn=_who_collates)
    batches = _source(train_loader=loader).batches(4)
    assert {next(batches) for _ in range(6)} == {(4, 0), (4, 1)}
    batches.close()


def _who_collates(samples: list[Any]) -> tuple[int, int]:
    info = torch.utils.data.get_worker_info()
    return len(samples), info.id


def test_a_loader_in_order_stays_in_order() -> None:
    loader = DataLoader(Numbers(8), batch_size=2, shuffle=False)
    assert _take(_source(train_loader=loader), 4, 2)[1].tolist() == [4, 5, 6, 7]


def test_a_loader_that_shuffles_goes_on_shuffling() -> None:
    torch.manual_seed(0)
    loader = DataLoader(Numbers(64), batch_size=2, shuffle=True)
    (epoch,) = _take(_source(train_loader=loader), 64, 1)
    assert epoch.tolist() != sorted(epoch.tolist()) == list(range(64))


def test_a_samplers_own_draws_are_kept() -> None:
    sampler = WeightedRandomSampler([0.0] * 5 + [1.0] * 5, num_samples=20)
    loader = DataLoader(Numbers(10), batch_size=2, sampler=sampler)
    assert min(_take(_source(train_loader=loader), 16, 1)[0].tolist()) >= 5


@pytest.mark.parametrize(
    ("sampler", "size"),
    [
        (SubsetRandomSampler(range(30)), 30),
        (RandomSampler(Numbers(100), num_samples=25), 25),
        (SequentialSampler(Numbers(100)), 100),
        (WeightedRandomSampler([1.0] * 100, num_samples=300), 300),
    ],
    ids=["subset", "fewer", "sequential", "oversampled"],
)
def test_an_epoch_is_what_the_sampler_draws(sampler: Any, size: int) -> None:
    loader = DataLoader(Numbers(100), batch_size=2, sampler=sampler)
    source = _source(train_loader=loader)
    assert source.dataset_size == size
    assert len(_take(source, size, 1)[0]) == size


def test_the_share_of_one_of_several_devices_is_not_the_whole_epoch() -> None:
    sampler = DistributedSampler(Numbers(100), num_replicas=4, rank=1)
    loader = DataLoader(Numbers(100), batch_size=2, sampler=sampler)
    assert _source(train_loader=loader).dataset_size == 100


def test_a_loader_of_a_stream_can_be_batched() -> None:
    loader = DataLoader(Stream(None), batch_size=2)
    assert _take(_source(train_loader=loader), 3, 1)[0].tolist() == [0, 1, 2]


def test_a_batch_sampler_of_ones_own_is_refused(error_of: Any) -> None:
    class ByLength(BatchSampler):
        pass

    sampler = ByLength(SequentialSampler(Numbers(8)), batch_size=2, drop_last=False)
    error = error_of(_source, train_loader=DataLoader(Numbers(8), batch_sampler=sampler))
    assert "batch sampler of its own" in str(error)
    assert "collate_fn" in error.hint


def test_a_loader_that_does_not_batch_is_refused(error_of: Any) -> None:
    error = error_of(_source, train_loader=DataLoader(Numbers(8), batch_size=None))
    assert "decides the batch size" in str(error)


def test_another_kind_of_loader_is_refused(error_of: Any) -> None:
    error = error_of(_source, train_loader=[1, 2, 3])
    assert "'train_loader' is a list, not a torch.utils.data.DataLoader" in str(error)


def test_a_function_is_called_for_every_batch() -> None:
    calls: list[int] = []

    def batch(batch_size: int) -> torch.Tensor:
        calls.append(batch_size)
        return torch.zeros(batch_size, 4)

    source = _source(batch=batch)
    assert len(_take(source, 5, 3)) == 3
    assert calls == [5, 5, 5]
    assert source.dataset_size is None
    assert source.description == "batch(batch_size)"


def test_a_function_that_returns_another_size_is_an_error(error_of: Any) -> None:
    source = _source(batch=lambda size: (torch.zeros(8, 4), torch.zeros(8)))
    error = error_of(_take, source, 5, 1)
    assert "batch(5) returned tensors of shapes (8, 4), (8,): none holds 5 samples" in str(error)


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(5, 4),
        torch.zeros(7, 5, 4),  # time first, as recurrent networks like it
        {"pixels": torch.zeros(5, 3), "mask": None},
        [torch.zeros(9, 9), (torch.zeros(5),)],
        ["no", "tensor"],
        None,
    ],
)
def test_a_batch_that_holds_its_size_somewhere_passes(batch: Any) -> None:
    assert check_batch_size(batch, 5) is None


def test_tensors_are_found_however_a_batch_is_nested() -> None:
    class Holder:
        def __init__(self) -> None:
            self.inner = {"a": [torch.zeros(1), (torch.zeros(2),)]}
            self.name = "holder"

    assert [len(tensor) for tensor in find_tensors([Holder(), 3, "text"])] == [1, 2]


def test_a_batch_that_holds_itself_is_searched_once() -> None:
    class Node:
        def __init__(self) -> None:
            self.me = self
            self.value = torch.zeros(3)

    assert len(find_tensors(Node())) == 1


def test_one_sample_is_repeated_into_one_batch_for_all_steps() -> None:
    source = _source(sample=(torch.arange(4.0), torch.tensor(2)))
    first, second = _take(source, 3, 2)
    assert first is second
    assert first[0].tolist() == [[0, 1, 2, 3]] * 3
    assert first[1].tolist() == [2, 2, 2]
    assert source.description == "sample, repeated"


def test_one_sample_is_collated_as_the_user_says() -> None:
    source = _source(sample="text", collate_fn=lambda samples: torch.zeros(len(samples)))
    assert _take(source, 6, 1)[0].shape == (6,)


def test_of_several_kinds_of_data_the_first_of_the_contract_is_used() -> None:
    loader = DataLoader(TensorDataset(torch.zeros(4, 2)), batch_size=2)
    fields = {"sample": 1, "batch": torch.zeros, "dataset": Numbers(4), "train_loader": loader}
    for name in ("train_loader", "dataset", "batch", "sample"):
        assert _source(**fields).description.startswith(name)
        del fields[name]

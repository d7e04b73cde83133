"""Datasets with more samples than can be listed."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler, SequentialSampler

from autobatch.errors import WorkloadError
from autobatch.workload.batches import make_source
from autobatch.workload.contract import Workload
from autobatch.workload.lengths import scan_lengths
from autobatch.workload.order import MANY_SAMPLES, describe_shuffle, visit_in_random_order

HUGE = [10**8, 10**15]


class Counted(Dataset[torch.Tensor]):
    """As many samples as it says, made when they are asked for."""

    def __init__(self, num_samples: int) -> None:
        self._num_samples = num_samples

    def __len__(self) -> int:
        return self._num_samples

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index])


def make(**data: Any) -> Any:
    return make_source(Workload(model=torch.nn.Linear(1, 1), **data))


@pytest.mark.parametrize("num_samples", HUGE)
def test_a_huge_dataset_gives_its_first_batches_at_once_and_in_random_order(
    num_samples: int,
) -> None:
    source = make(dataset=Counted(num_samples))
    begin = time.monotonic()
    drawn = torch.cat(list(islice(source.batches(64), 20))).flatten()
    assert time.monotonic() - begin < 5
    assert source.dataset_size == num_samples
    assert len(drawn.unique()) > 1270, "hardly any sample comes twice"
    assert drawn.float().mean() == pytest.approx(num_samples / 2, rel=0.1)


@pytest.mark.parametrize("num_samples", HUGE)
def test_the_lengths_of_a_huge_dataset_are_scanned_for_a_limited_time(num_samples: int) -> None:
    begin = time.monotonic()
    found = scan_lengths(Counted(num_samples), max_time_s=0.1)
    assert time.monotonic() - begin < 5
    assert found.scan is not None
    assert found.scan.num_samples == num_samples
    assert 0 < found.scan.num_scanned < num_samples


def test_a_dataset_that_can_be_listed_is_visited_once_and_whole() -> None:
    order = list(visit_in_random_order(1000, seed=3))
    assert sorted(order) == list(range(1000)) != order
    drawn = torch.cat(list(islice(make(dataset=Counted(1000)).batches(10), 100)))
    assert len(drawn.unique()) == 1000


def test_a_users_sampler_is_left_alone_and_its_time_and_memory_are_told() -> None:
    loader = DataLoader(Counted(10**8), batch_size=16, shuffle=True)
    source = make(train_loader=loader)
    assert source._options["sampler"] is loader.sampler
    assert "its sampler shuffles for about" in source.description
    assert "4.5 GiB before each epoch" in source.description


def test_a_users_sampler_that_no_memory_holds_is_refused_with_what_to_use_instead() -> None:
    loader = DataLoader(Counted(10**15), batch_size=16, shuffle=True)
    with pytest.raises(WorkloadError) as caught:
        make(train_loader=loader)
    assert "shuffles 1,000,000,000,000,000 samples" in str(caught.value)
    assert "RandomSampler(dataset, replacement=True)" in caught.value.hint


@pytest.mark.parametrize(
    "sampler",
    [
        RandomSampler(Counted(10**15), replacement=True),
        SequentialSampler(Counted(10**15)),
        RandomSampler(Counted(MANY_SAMPLES)),
    ],
    ids=["lazy", "in order", "not so many"],
)
def test_samplers_that_cost_little_are_not_spoken_of(sampler: Any) -> None:
    assert describe_shuffle(sampler) == ""

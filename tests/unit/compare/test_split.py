"""What is trained on and what is held out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from autobatch.compare.split import Split, split_data
from autobatch.errors import WorkloadError
from autobatch.workload.batches import make_source
from autobatch.workload.contract import Workload

DATA = TensorDataset(torch.arange(103.0))


def split(data: Any = DATA, *, validation_fraction: float = 0.2) -> Split:
    source = make_source(Workload(model=torch.nn.Identity(), dataset=data))
    return split_data(source, validation_fraction, seed=0)


def numbers(batches: Iterator[tuple[int, Any]]) -> list[float]:
    return [float(each) for _, (values,) in batches for each in values]


def test_every_sample_is_trained_on_or_held_out() -> None:
    parts = split()
    trained = numbers(parts.train_batches(8, 0))
    held_out = numbers(parts.validation_batches(8))
    assert (len(trained), len(held_out), parts.num_train_samples) == (82, 21, 82)
    assert sorted(trained + held_out) == list(range(103))


def test_the_last_smaller_batch_is_there_and_counted() -> None:
    counts = [(count, len(values)) for count, (values,) in split().train_batches(16, 0)]
    assert counts == [(16, 16)] * 5 + [(2, 2)]


def test_an_epochs_order_is_its_seeds_and_the_split_is_not() -> None:
    first = numbers(split().train_batches(8, 1))
    assert first == numbers(split().train_batches(64, 1))
    other = numbers(split().train_batches(8, 2))
    assert first != other
    assert sorted(first) == sorted(other)


def test_nothing_need_be_held_out_and_something_is_always_left() -> None:
    assert split(validation_fraction=0.0).validation is None
    assert split(validation_fraction=0.999).num_train_samples == 1


def test_the_users_loader_keeps_its_collation() -> None:
    loader = DataLoader(DATA, batch_size=4, collate_fn=lambda samples: ("mine", len(samples)))
    source = make_source(Workload(model=torch.nn.Identity(), train_loader=loader))
    parts = split_data(source, 0.5, seed=0)
    assert next(parts.train_batches(7, 0)) == (7, ("mine", 7))


class Sized(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        return iter([(torch.tensor(float(index)),) for index in range(50)])

    def __len__(self) -> int:
        return 50


def test_an_iterable_data_set_is_trained_on_whole() -> None:
    parts = split(Sized())
    assert parts.num_train_samples == 50
    assert parts.validation is None
    assert numbers(parts.train_batches(16, 0)) == list(range(50))


def test_what_is_no_data_set_is_refused() -> None:
    source = make_source(Workload(model=torch.nn.Identity(), sample=torch.zeros(1)))
    with pytest.raises(WorkloadError, match="needs a dataset"):
        split_data(source, 0.2, seed=0)

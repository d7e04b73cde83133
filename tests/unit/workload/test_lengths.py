from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch.utils.data import get_worker_info

from autobatch.errors import WorkloadError
from autobatch.workload.lengths import count_elements, scan_lengths

LENGTHS = [3] * 50 + [40] + [3] * 49


def samples() -> list[torch.Tensor]:
    return [torch.zeros(length) for length in LENGTHS]


def test_a_scan_finds_the_longest_sample_wherever_it_is() -> None:
    found = scan_lengths(samples())
    assert found.longest[0] == LENGTHS.index(40)
    assert found.scan is not None
    assert (found.scan.shortest, found.scan.median, found.scan.longest) == (3, 3, 40)
    assert found.scan.num_scanned == found.scan.num_samples == 100


def test_a_scan_ends_with_its_time_and_says_how_far_it_came() -> None:
    seconds = itertools.count()
    found = scan_lengths(samples(), max_time_s=9.5, clock=lambda: float(next(seconds)))
    assert found.scan is not None
    assert (found.scan.num_scanned, found.scan.num_samples) == (10, 100)


def test_batches_of_like_length_end_at_lengths_that_samples_have() -> None:
    # None between 64 and 400: a size that ran with 64 is no size for 200.
    lengths = [*range(8, 65), 400]
    found = scan_lengths([torch.zeros(length) for length in lengths])
    assert found.scan is not None
    assert found.scan.steps_down == (400, 64, 32, 16, 8)
    many = scan_lengths([torch.zeros(2**power) for power in range(12)])
    assert many.scan is not None
    assert many.scan.steps_down == (2048, 1024, 512, 256, 128, 64)


@pytest.mark.parametrize(
    ("length", "name"), [(len, "by len()"), (lambda sample: len(sample), "by length()")]
)
def test_a_measure_is_named_as_its_user_knows_it(length: Any, name: str) -> None:
    found = scan_lengths(samples(), length)
    assert found.scan is not None
    assert found.scan.measure == name


def test_the_users_measure_goes_first() -> None:
    found = scan_lengths(["a b c", "a", "a b"], lambda text: len(text.split()))
    assert found.longest == (0, 2, 1)


def test_a_measure_that_raises_is_named() -> None:
    with pytest.raises(WorkloadError, match="'length' failed on a sample: ZeroDivisionError"):
        scan_lengths([1, 2], lambda sample: 1 // 0)


class OnlyInWorkers:
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        info: Any = get_worker_info()
        return torch.zeros(index + info.id)


class Endless:
    def __getitem__(self, index: int) -> int:
        return index


@pytest.mark.parametrize("dataset", [OnlyInWorkers(), Endless()])
def test_what_cannot_be_looked_through_is_not_scanned(dataset: Any) -> None:
    assert scan_lengths(dataset).scan is None


@pytest.mark.parametrize(
    ("sample", "size"),
    [
        (torch.zeros(2, 3), 6),
        ({"ids": [1, 2, 3], "label": 0}, 4),
        ("word", 4),
        ((torch.zeros(5), 1), 6),
    ],
)
def test_elements_are_counted_however_they_are_nested(sample: Any, size: int) -> None:
    assert count_elements(sample) == size

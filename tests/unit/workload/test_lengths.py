from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from torch.utils.data import get_worker_info

from autobatch.errors import WorkloadError
from autobatch.workload.lengths import count_elements, scan_lengths, with_padding

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


def sentence(length: int) -> dict[str, Any]:
    return {"input_ids": [1] * length, "attention_mask": [1] * length, "labels": 1}


@pytest.mark.parametrize("wrap", [lambda sample: sample, lambda sample: (sample, 3)])
def test_tokens_are_counted_once_and_without_mask_and_labels(wrap: Any) -> None:
    found = scan_lengths([wrap(sentence(length)) for length in (3, 200, 50)])
    assert found.scan is not None
    assert (found.scan.shortest, found.scan.longest) == (3, 200)
    assert found.scan.measure == "tokens"


def pad(samples: list[Any]) -> Any:
    return torch.nn.utils.rnn.pad_sequence([sample[0] for sample in samples], batch_first=True)


def pad_tokens(samples: list[Any]) -> Any:
    ids = [torch.tensor(sample["input_ids"]) for sample in samples]
    padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    return {"input_ids": padded, "attention_mask": padded > 0, "labels": torch.ones(len(ids))}


UNEVEN = [*range(10, 110)]


@pytest.mark.parametrize(
    ("dataset", "collate", "length"),
    [
        ([(torch.ones(n), 1) for n in UNEVEN], pad, None),
        ([(torch.ones(n, 8), 1) for n in UNEVEN], pad, lambda sample: len(sample[0])),
        ([sentence(n) for n in UNEVEN], pad_tokens, None),
    ],
)
def test_the_padding_of_a_batch_is_that_of_random_batches(
    dataset: Any, collate: Any, length: Any
) -> None:
    found = with_padding(scan_lengths(dataset, length), dataset, collate)
    assert found.scan is not None
    rng = random.Random(0)
    for size in (1, 4, 16):
        batches = [rng.choices(UNEVEN, k=size) for _ in range(4000)]
        padded = sum(size * max(batch) for batch in batches)
        expected = 1 - sum(map(sum, batches)) / padded
        fraction = found.scan.padding_fraction(size)
        assert fraction == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("dataset", "collate"),
    [
        # As for graphs: one after the other.
        ([(torch.ones(n), 1) for n in UNEVEN], lambda s: torch.cat([each[0] for each in s])),
        # As for detection: a list.
        ([(torch.ones(n), 1) for n in UNEVEN], lambda samples: [each[0] for each in samples]),
        # Images are scaled to one size.
        ([(torch.ones(3, n, n), 1) for n in UNEVEN], lambda s: torch.ones(len(s), 3, 8, 8)),
        # Hardly any difference.
        ([(torch.ones(n), 1) for n in (99, 100, 101)], pad),
        ([(torch.ones(n), 1) for n in UNEVEN], lambda samples: 1 / 0),
    ],
)
def test_nothing_is_said_of_padding_where_there_is_none(dataset: Any, collate: Any) -> None:
    found = with_padding(scan_lengths(dataset), dataset, collate)
    assert found.scan is not None
    assert found.scan.quantiles == ()
    assert found.scan.padding_fraction(16) is None

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
import torch
from torch.utils.data import get_worker_info

from autobatch.errors import WorkloadError
from autobatch.workload.lengths import PADDING, scan_lengths, with_padding
from autobatch.workload.sizes import SampleSizes

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
    assert SampleSizes(sample).total == size


class Graph:
    """As PyTorch Geometric keeps its parts: in attributes."""

    def __init__(self, num_nodes: int, num_edges: int) -> None:
        self.x, self.edge_index = torch.zeros(num_nodes, 4), torch.zeros(2, num_edges)
        self.itself = self


def test_parts_have_the_names_that_their_user_gave_them() -> None:
    boxes = {"boxes": torch.zeros(7, 4), "areas": [1.0] * 7, "id": 3}
    sizes = SampleSizes((torch.zeros(3, 640, 480), boxes))
    assert sizes.counts["sample[0]"] == 3 * 640 * 480
    assert (sizes.counts["boxes"], sizes.counts["areas"], sizes.counts["id"]) == (28, 7, 1)
    assert (sizes.extents["sample[0].shape[2]"], sizes.extents["boxes.shape[0]"]) == (480, 7)
    graph = SampleSizes(Graph(5, 9))
    assert (graph.counts["x"], graph.counts["edge_index"]) == (20, 18)


def tall_and_wide() -> list[torch.Tensor]:
    """All of one area, so that none is longer than another."""
    return [torch.zeros(3, 8, 8)] * 20 + [torch.zeros(3, 32, 2), torch.zeros(3, 2, 32)]


def test_a_batch_is_padded_to_the_largest_by_each_criterion_though_no_sample_is_longer() -> None:
    found = scan_lengths(tall_and_wide())
    assert found.scan is not None
    assert not found.scan.differ
    assert found.scan.criteria == ("sample.shape[1]", "sample.shape[2]")
    worst = dict(found.list_worst(2))
    assert set(worst[PADDING]) == {20, 21}
    assert (worst["sample.shape[1]"][0], worst["sample.shape[2]"][0]) == (20, 21)


def test_one_criterion_needs_no_mixture() -> None:
    assert [name for name, _ in scan_lengths(samples()).list_worst(4)] == ["elements"]
    assert list(scan_lengths([torch.zeros(3)] * 4).list_worst(4)) == []


def test_each_number_of_the_users_measure_is_a_criterion() -> None:
    graphs = [(1, 9), (5, 1), (3, 3)]
    by_name = scan_lengths(graphs, lambda graph: {"nodes": graph[0], "edges": graph[1]})
    assert by_name.scan is not None
    assert (by_name.scan.measure, by_name.scan.criteria) == ("nodes", ("edges",))
    assert dict(by_name.list_worst(1)) == {PADDING: [1], "nodes": [1], "edges": [0]}
    in_turn = scan_lengths(graphs, lambda graph: graph)
    assert in_turn.scan is not None
    assert (in_turn.scan.longest, in_turn.scan.criteria) == (5, ("length()[1]",))


def test_parts_that_some_samples_lack_and_orders_that_are_the_same_make_no_criterion() -> None:
    found = scan_lengths([{"x": [1] * n, "mask": [1] * n, "y": 0} for n in (3, 1, 2)])
    assert found.largest == {}
    sparse = scan_lengths([{"x": [1, 2, 3]}, {"x": [1], "boxes": [1, 2]}, {"x": [1, 2]}])
    assert sparse.largest == {"x": (0, 2, 1), "boxes": (1, 0, 2)}


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

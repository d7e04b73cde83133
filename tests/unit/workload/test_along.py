"""Batches that grow along another axis than the batch."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from autobatch.errors import WorkloadError
from autobatch.records import Axis, Settings
from autobatch.workload.along import along_axis, count_positions
from autobatch.workload.batches import make_source
from autobatch.workload.contract import Workload

MODEL = nn.Linear(1, 1)


def _make(axis: Axis, size: int, **data: Any) -> Any:
    workload = Workload(model=MODEL, **data)
    settings = Settings(axis=axis, batch_size=None if axis is Axis.TOKENS else 2)
    _, source = along_axis(workload, make_source(workload), settings)
    return next(source.batches(size))


def test_sequences_are_repeated_with_all_that_is_as_long() -> None:
    tokens = torch.tensor([[1, 2, 3], [4, 5, 6]])
    batch = {
        "input_ids": tokens,
        "labels": tokens,
        "mask": torch.ones(2, 1, 3, 3),
        "features": torch.zeros(2, 3, 7),
        "class": torch.tensor([0, 1]),
    }
    made = _make(Axis.SEQUENCE_LENGTH, 5, batch=lambda size: batch)
    assert made["input_ids"].tolist() == [[1, 2, 3, 1, 2], [4, 5, 6, 4, 5]]
    shapes = {name: tuple(tensor.shape) for name, tensor in made.items()}
    assert shapes == {
        "input_ids": (2, 5), "labels": (2, 5), "mask": (2, 1, 5, 5), "features": (2, 5, 7),
        "class": (2,),
    }  # fmt: skip


def test_longer_sequences_are_cut() -> None:
    (made,) = _make(Axis.SEQUENCE_LENGTH, 2, batch=lambda size: [torch.arange(6).view(2, 3)])
    assert made.tolist() == [[0, 1], [3, 4]]


def test_images_become_square_with_the_masks_that_go_with_them() -> None:
    batch = (torch.randn(2, 3, 10, 12), torch.zeros(2, 10, 12), torch.tensor([1, 0]))
    images, masks, classes = _make(Axis.IMAGE_SIZE, 16, batch=lambda size: batch)
    assert (images.shape, masks.shape, classes.shape) == ((2, 3, 16, 16), (2, 16, 16), (2,))


def test_one_batch_of_a_loader_is_stretched_whatever_its_own_size() -> None:
    loader = DataLoader([torch.arange(3)] * 9, batch_size=4)
    assert _make(Axis.SEQUENCE_LENGTH, 7, train_loader=loader).shape == (2, 7)


@pytest.mark.parametrize("axis", [Axis.SEQUENCE_LENGTH, Axis.IMAGE_SIZE])
def test_data_without_that_dimension_is_refused_with_its_shapes(axis: Axis) -> None:
    with pytest.raises(WorkloadError, match=rf"axis={axis.value}.* has \(2,\)"):
        _make(axis, 64, batch=lambda size: torch.zeros(size))


def _join(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """As DataCollatorWithFlattening does it."""
    tokens = [token for sample in samples for token in sample["input_ids"]]
    places = [place for sample in samples for place in range(len(sample["input_ids"]))]
    return {"input_ids": torch.tensor([tokens]), "position_ids": torch.tensor([places])}


def _pad(samples: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    rows = [torch.tensor(sample["input_ids"]) for sample in samples]
    return {"input_ids": nn.utils.rnn.pad_sequence(rows, batch_first=True)}


SAMPLES = [{"input_ids": [1] * length, "labels": [1] * length} for length in (5, 9, 3, 7)]


@pytest.mark.parametrize("num_tokens", [4, 16, 100])
def test_a_packed_batch_has_exactly_as_many_tokens_of_whole_samples_but_the_last(
    num_tokens: int,
) -> None:
    made = _make(Axis.TOKENS, num_tokens, dataset=SAMPLES, collate_fn=_join)
    assert made["input_ids"].shape == (1, num_tokens)
    places = made["position_ids"][0].tolist()
    starts = [index for index, place in enumerate(places) if place == 0]
    lengths = [end - start for start, end in zip(starts, [*starts[1:], num_tokens], strict=True)]
    assert all(length in (3, 5, 7, 9) for length in lengths[:-1])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"dataset": SAMPLES, "collate_fn": _pad}, "it does not join them"),
        ({"dataset": SAMPLES}, "needs a collate function that joins samples"),
        ({"dataset": [torch.arange(3)] * 4, "collate_fn": _join}, "needs samples with 'input_ids'"),
        ({"sample": torch.arange(3)}, "packs samples of a dataset"),
    ],
)
def test_data_that_cannot_be_packed_is_refused(data: dict[str, Any], words: str) -> None:
    with pytest.raises(WorkloadError, match=words) as caught:
        _make(Axis.TOKENS, 64, **data)
    assert caught.value.hint


def test_a_function_is_called_with_the_tokens() -> None:
    made = _make(Axis.TOKENS, 64, batch=lambda num: torch.zeros(1, num))
    assert made.shape == (1, 64)


def _model(positions: Any, **parts: nn.Module) -> nn.Module:
    model = nn.ModuleDict(parts)
    text = SimpleNamespace(max_position_embeddings=positions)
    model.config = SimpleNamespace(get_text_config=lambda: text)  # type: ignore[assignment]
    return model


@pytest.mark.parametrize(
    ("make", "positions"),
    [
        (lambda: nn.Linear(1, 1), None),
        (lambda: _model(None), None),
        (lambda: _model(512), 512),
        (lambda: _model(514, position_embeddings=nn.Embedding(514, 4, padding_idx=1)), 512),
    ],
)
def test_the_longest_sequence_is_what_a_configuration_says(
    make: Callable[[], nn.Module], positions: int | None
) -> None:
    assert count_positions(make()) == positions

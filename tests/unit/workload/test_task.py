"""Loading all of a workload, the summary of it, invented inputs and moving batches."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, NamedTuple

import pytest
import torch
from torch.nn.utils.rnn import pack_sequence

from autobatch.records import Settings
from autobatch.workload.shape import read_shape
from autobatch.workload.synthetic import RandomBatches
from autobatch.workload.task import move_to

META = torch.device("meta")


class Pair(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: Any
    y: Any
    size: int = dataclasses.field(default=3, init=False)


def test_the_summary_says_what_was_given(load: Any) -> None:
    task = load(
        """
        model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
        model[0].bias.requires_grad_(False)
        dataset = [(torch.randn(4), 1)] * 50
        train_loader = torch.utils.data.DataLoader(dataset, batch_size=16, num_workers=2)
        loss = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        """
    )
    summary = task.summarize(6, Settings())
    assert summary.model == "Sequential"
    assert summary.num_parameters == 12 + 6  # the frozen bias is left out
    assert summary.loss == "CrossEntropyLoss"
    assert (summary.optimizer, summary.optimizer_was_given) == ("SGD", True)
    assert (summary.dataset_size, summary.base_batch_size) == (50, 16)
    assert summary.base_learning_rate == 0.05
    assert summary.has_batch_norm
    assert (summary.num_loader_workers, summary.num_threads) == (2, 6)
    assert summary.guesses == ()


def test_the_summary_says_what_was_assumed(load: Any) -> None:
    task = load("net = nn.Linear(4, 3)\ndataset = [(torch.randn(4), 1)] * 50")
    task.loss(task.model, next(task.source.batches(4)))
    summary = task.summarize(1, Settings())
    assert summary.guesses == (
        "net is the model, as the only model in the file",
        "cross-entropy as the loss, since the targets are int64",
        "AdamW as the optimizer",
        "32 as the batch size trained with now",
    )
    assert summary.base_learning_rate is None
    assert summary.base_batch_size is None
    assert not summary.has_batch_norm


def test_names_of_the_file_go_before_what_its_objects_say(load: Any) -> None:
    summary = load(
        """
        model = nn.Linear(4, 3)
        dataset = [(torch.randn(4), 1)] * 50
        train_loader = torch.utils.data.DataLoader(dataset, batch_size=16)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        batch_size, lr, dataset_size = 8, 0.5, 5000
        """
    ).summarize(1, Settings())
    assert (summary.base_batch_size, summary.base_learning_rate) == (8, 0.5)
    assert summary.dataset_size == 5000


def test_a_learning_rate_without_an_optimizer_is_known_all_the_same(load: Any) -> None:
    task = load("model = nn.Linear(4, 3)\nlr = 0.02\ndataset = [(torch.randn(4), 1)]")
    assert task.summarize(1, Settings()).base_learning_rate == 0.02


def test_a_description_behind_the_target_makes_up_for_missing_data(load: Any) -> None:
    task = load("model = nn.Flatten()\nmodel.layer = nn.Linear(4, 3)", "input=3x8x8")
    assert task.source.description == "random inputs 3x8x8"
    assert next(task.source.batches(2)).shape == (2, 3, 8, 8)


def random_batches(size: str, seed: int = 0, **values: str) -> RandomBatches:
    return RandomBatches(read_shape({"input": size, **values}), seed)


def test_invented_inputs_have_the_classes_that_were_asked_for() -> None:
    make_batch = random_batches("5", classes="3")
    inputs, classes = make_batch(1000)
    assert inputs.shape == (1000, 5)
    assert inputs.dtype == torch.float32
    assert abs(float(inputs.mean())) < 0.1
    assert classes.shape == (1000,)
    assert set(classes.tolist()) == {0, 1, 2}
    assert make_batch.description == "random inputs 5, 3 classes"


def test_invented_tokens_are_below_the_vocabulary_and_their_own_targets() -> None:
    inputs, targets = random_batches("7", vocabulary="11")(100)
    assert inputs.shape == (100, 7)
    assert inputs.dtype == torch.int64
    assert set(inputs.flatten().tolist()) == set(range(11))
    assert torch.equal(inputs, targets)


def test_invented_tokens_may_have_classes_instead() -> None:
    _, targets = random_batches("7", vocabulary="11", classes="2")(10)
    assert targets.shape == (10,)
    assert targets.max() < 2


def test_invented_inputs_are_the_same_for_the_same_seed() -> None:
    first, again, other = (random_batches("5", seed=seed)(4) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_invented_inputs_train_an_image_classifier(load: Any) -> None:
    task = load(
        "model = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))",
        "input=3x8x8,classes=10",
    )
    assert task.loss(task.model, next(task.source.batches(4))).requires_grad


def test_invented_tokens_train_a_language_model(load: Any) -> None:
    task = load(
        "model = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 11))",
        "input=7,vocabulary=11",
    )
    assert task.loss(task.model, next(task.source.batches(4))).requires_grad


@pytest.mark.parametrize(
    "batch",
    [
        torch.zeros(2),
        (torch.zeros(2), [torch.zeros(1), {"a": torch.zeros(3)}]),
        Pair(torch.zeros(2), torch.zeros(1)),
        Frozen(torch.zeros(2), torch.zeros(1)),
        {"a": torch.zeros(2), "b": (torch.zeros(1),)},
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_every_tensor_of_a_batch_is_moved_and_its_shape_kept(batch: Any) -> None:
    from autobatch.workload.tensors import find_tensors

    moved = move_to(batch, META)
    assert type(moved) is type(batch)
    assert len(find_tensors(moved)) == len(find_tensors(batch))
    assert all(tensor.device == META for tensor in find_tensors(moved))
    assert all(tensor.device.type == "cpu" for tensor in find_tensors(batch))


def test_what_is_no_tensor_stays_what_it_is() -> None:
    marker = object()
    assert move_to([marker, "text", None, 3, torch.Tensor], META) == [
        marker,
        "text",
        None,
        3,
        torch.Tensor,
    ]


def test_any_mapping_becomes_a_dictionary() -> None:
    moved = move_to(collections.UserDict(a=torch.zeros(2)), META)
    assert moved["a"].device == META


def test_a_batch_that_knows_how_to_move_moves_itself() -> None:
    packed = pack_sequence([torch.zeros(3), torch.zeros(2)])  # its batch sizes stay on the CPU
    moved = move_to((packed, torch.zeros(2)), META)
    assert moved[0].data.device == META
    assert moved[0].batch_sizes.device.type == "cpu"


@pytest.mark.parametrize(
    ("settings", "assumed"),
    [
        (
            {},
            (
                "0.001 as the learning rate, the default of AdamW",
                "32 as the batch size trained with now",
            ),
        ),
        ({"learning_rate": 0.001}, ("32 as the batch size trained with now",)),
        ({"learning_rate": 0.1, "base_batch_size": 64}, ()),
    ],
)
def test_what_the_settings_say_is_not_assumed(settings: Any, assumed: Any, load: Any) -> None:
    task = load(
        "model = nn.Linear(4, 3)\noptimizer = torch.optim.AdamW\nloss = nn.CrossEntropyLoss()\n"
        "dataset = [(torch.randn(4), 1)] * 50"
    )
    assert task.summarize(1, Settings(**settings)).guesses == assumed

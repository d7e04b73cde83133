"""Every shape of batch and every kind of model, to a loss that can be differentiated."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional

from autobatch.errors import WorkloadError
from autobatch.workload.contract import Workload
from autobatch.workload.loss import LossFunction

X = torch.randn(5, 4)
CLASSES = torch.tensor([0, 1, 2, 0, 1])
VALUES = torch.randn(5, 3)


class Pair(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor


@dataclasses.dataclass
class Sample:
    x: torch.Tensor
    label: torch.Tensor


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return self.layer(first + second)


class Keywords(nn.Module):
    """Takes a dictionary, as the models of ``transformers`` do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.layer(x)


class OwnLoss(nn.Module):
    """Returns its loss, wrapped as a function says."""

    def __init__(self, wrap: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.wrap = wrap

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
        logits = self.layer(x)
        return self.wrap(
            logits, None if labels is None else functional.cross_entropy(logits, labels)
        )


class Output:
    def __init__(self, logits: torch.Tensor, loss: torch.Tensor | None) -> None:
        self.logits, self.loss = logits, loss


def _loss(model: nn.Module, batch: Any, **fields: Any) -> tuple[torch.Tensor, LossFunction]:
    function = LossFunction(Workload(model=model, **fields), model)
    value = function(model, batch)
    value.backward()
    assert value.dim() == 0
    assert any(parameter.grad is not None for parameter in model.parameters())
    return value.detach(), function


@pytest.mark.parametrize(
    "batch",
    [
        (X, CLASSES),
        [X, CLASSES],
        Pair(X, CLASSES),
        Sample(X, CLASSES),
        {"x": X, "label": CLASSES},
        {"x": X, "labels": CLASSES},
        {"x": X, "target": CLASSES},
        {"x": X, "y": CLASSES},
        {"x": X, "mask": X, "targets": CLASSES},
        collections.UserDict({"x": X, "labels": CLASSES}),
        collections.OrderedDict(x=X, labels=CLASSES),
    ],
    ids=lambda batch: type(batch).__name__,
)
def test_a_batch_of_any_shape_is_split_into_inputs_and_target(batch: Any) -> None:
    model = Keywords()
    value, function = _loss(model, batch, loss=functional.cross_entropy)
    assert value == functional.cross_entropy(model(X), CLASSES)
    assert function.facts.description == "cross_entropy"
    assert function.facts.guesses == ()


@pytest.mark.parametrize("batch", [{"image": X, "label": CLASSES}, {"inputs": X, "y": CLASSES}])
def test_the_only_input_of_a_dictionary_needs_no_name_that_the_model_knows(batch: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    value, _ = _loss(model, batch)
    assert value == functional.cross_entropy(model(X), CLASSES)


def test_a_batch_is_left_as_it_was() -> None:
    batch = {"x": X, "labels": CLASSES}
    _loss(Keywords(), batch)
    assert list(batch) == ["x", "labels"]


def test_of_three_parts_the_first_two_are_inputs() -> None:
    model = TwoInputs()
    value, _ = _loss(model, (X, X, CLASSES))
    assert value == functional.cross_entropy(model(X, X), CLASSES)


def test_inputs_may_be_nested() -> None:
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, parts: dict[str, list[torch.Tensor]]) -> torch.Tensor:
            return self.layer(parts["views"][0])

    value, _ = _loss(Nested(), ({"views": [X, X]}, CLASSES))
    assert value > 0


def test_a_tensor_alone_is_its_own_target_if_a_loss_is_given() -> None:
    model = nn.Linear(4, 4)
    value, _ = _loss(model, X, loss=nn.MSELoss())
    assert value == functional.mse_loss(model(X), X)


def test_a_tuple_of_one_has_no_target() -> None:
    model = nn.Linear(4, 3)
    value, _ = _loss(model, (X,), loss=lambda output: output.square().mean())
    assert value == model(X).square().mean()


def test_a_compiled_model_is_called_as_the_model_inside_it() -> None:
    model = torch.compile(Keywords(), backend="eager")
    value, _ = _loss(model, {"x": X, "labels": CLASSES})
    assert value > 0


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_scripted_model_can_be_trained() -> None:
    model = torch.jit.trace(nn.Linear(4, 3), X)
    value, _ = _loss(model, (X, CLASSES))
    assert value > 0


@pytest.mark.parametrize(
    "wrap",
    [
        Output,
        lambda logits, loss: {"logits": logits, "loss": loss},
        lambda logits, loss: collections.UserDict(logits=logits, loss=loss),
        lambda logits, loss: loss,
        lambda logits, loss: (logits, loss),
        lambda logits, loss: [loss, logits],
    ],
    ids=["attribute", "key", "mapping", "scalar", "logits and loss", "list"],
)
@pytest.mark.parametrize(
    "batch", [(X, CLASSES), {"x": X, "labels": CLASSES}], ids=["tuple", "dict"]
)
def test_a_model_may_return_its_loss_in_every_customary_way(wrap: Any, batch: Any) -> None:
    model = OwnLoss(wrap)
    value, function = _loss(model, batch)
    assert value == functional.cross_entropy(model.layer(X), CLASSES)
    assert function.facts.description == "returned by the model"
    assert function.facts.guesses == ()


def test_a_loss_that_is_given_goes_before_the_models_own() -> None:
    class Both(OwnLoss):
        def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> Any:
            return super().forward(x, CLASSES)["logits"]

    model = Both(lambda logits, loss: {"logits": logits, "loss": loss})
    value, function = _loss(model, (X, VALUES), loss=nn.L1Loss())
    assert value == functional.l1_loss(model(X), VALUES)
    assert function.facts.description == "L1Loss"


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.uint8])
def test_whole_numbers_as_targets_mean_cross_entropy(dtype: torch.dtype) -> None:
    model = nn.Linear(4, 3)
    value, function = _loss(model, (X, CLASSES.to(dtype)))
    assert value == functional.cross_entropy(model(X), CLASSES)
    assert function.facts.description == "cross-entropy"
    assert function.facts.guesses[0].startswith("cross-entropy as the loss, since the targets are ")
    assert function.facts.guesses[0].endswith(str(dtype).removeprefix("torch."))


def test_a_class_for_each_position_of_a_sequence_means_cross_entropy_over_all() -> None:
    model, tokens = nn.Linear(4, 7), torch.randint(7, (5, 6))
    inputs = torch.randn(5, 6, 4)
    value, _ = _loss(model, (inputs, tokens))
    assert value == functional.cross_entropy(model(inputs).flatten(0, 1), tokens.flatten())


def test_a_class_for_each_pixel_means_cross_entropy_with_classes_second() -> None:
    model, labels = nn.Conv2d(3, 7, 1), torch.randint(7, (2, 8, 9))
    images = torch.randn(2, 3, 8, 9)
    value, _ = _loss(model, (images, labels))
    assert value == functional.cross_entropy(model(images), labels)


def test_truth_values_as_targets_mean_binary_cross_entropy() -> None:
    model, target = nn.Linear(4, 1), torch.tensor([True, False, True, True, False])
    value, function = _loss(model, (X, target))
    expected = functional.binary_cross_entropy_with_logits(model(X)[:, 0], target.float())
    assert value == expected
    assert function.facts.description == "binary cross-entropy with logits"


def test_floats_as_targets_mean_the_squared_error() -> None:
    model = nn.Linear(4, 3)
    value, function = _loss(model, (X, VALUES))
    assert value == functional.mse_loss(model(X), VALUES)
    assert (
        function.facts.guesses[0] == "mean squared error as the loss, since the targets are float32"
    )


def test_a_column_of_outputs_is_compared_with_a_row_of_targets_one_by_one() -> None:
    model, target = nn.Linear(4, 1), torch.randn(5)
    value, _ = _loss(model, (X, target))  # a warning would be an error: nothing is broadcast
    assert value == functional.mse_loss(model(X)[:, 0], target)


def test_no_loss_and_no_target_is_an_error(error_of: Any) -> None:
    error = error_of(_loss, nn.Linear(4, 3), X)
    assert (
        "the model returned a float32 tensor of shape (5, 3), and the batch has no target"
        in str(error)
    )
    assert "loss(output, target)" in error.hint


def test_an_output_without_a_loss_is_described(error_of: Any) -> None:
    error = error_of(_loss, OwnLoss(Output), {"x": X})
    assert "the model returned an Output, and the batch has no target" in str(error)


def test_a_loss_for_each_sample_is_an_error(error_of: Any) -> None:
    loss = nn.CrossEntropyLoss(reduction="none")
    error = error_of(_loss, nn.Linear(4, 3), (X, CLASSES), loss=loss)
    assert "the loss is a tensor of shape (5,), not a scalar" in str(error)
    assert ".mean()" in error.hint


def test_a_vector_of_one_element_is_refused_as_one_loss_per_sample() -> None:
    with pytest.raises(WorkloadError, match="not a scalar"):
        _loss(nn.Linear(4, 3), (X, CLASSES), loss=lambda o, t: o.sum().reshape(1))


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (lambda output, target: None, "the loss is None, not a tensor"),
        (lambda output, target: 3.5, "the loss is a float, not a tensor"),
        (lambda output, target: output.sum().detach(), "a tensor that needs no gradient"),
    ],
)
def test_a_loss_that_cannot_be_differentiated_is_an_error(
    loss: Any, text: str, error_of: Any
) -> None:
    assert text in str(error_of(_loss, nn.Linear(4, 3), (X, CLASSES), loss=loss))


def test_a_training_step_has_the_say_over_everything() -> None:
    model = nn.Linear(4, 3)
    seen: list[Any] = []

    def training_step(given: nn.Module, batch: Any) -> torch.Tensor:
        seen.append((given, batch))
        return given(batch["anything"]).sum()

    batch = {"anything": X}
    value, function = _loss(model, batch, training_step=training_step, loss=nn.MSELoss())
    assert value == model(X).sum()
    assert seen == [(model, batch)]
    assert function.facts.description == "training_step(model, batch)"


def test_a_training_step_that_returns_nothing_is_an_error(error_of: Any) -> None:
    error = error_of(_loss, nn.Linear(4, 3), X, training_step=lambda model, batch: None)
    assert str(error).startswith("training_step(model, batch) returned None")


def test_what_the_model_raises_passes_through() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        _loss(nn.Linear(9, 3), (X, CLASSES))

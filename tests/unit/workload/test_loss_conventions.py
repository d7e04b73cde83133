"""What a model or a loss returns, by the customs of libraries, and what a loss is called with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from autobatch.workload.contract import Workload
from autobatch.workload.loss import LossFunction, NoLossError

X = torch.randn(5, 4)
CLASSES = torch.tensor([0, 1, 2, 0, 1])


def _loss(model: nn.Module, batch: Any, **fields: Any) -> tuple[torch.Tensor, LossFunction]:
    function = LossFunction(Workload(model=model, **fields), model)
    value = function(model, batch)
    assert value.dim() == 0
    assert value.requires_grad
    return value.detach(), function


class Returns(nn.Module):
    """Returns what a function makes of its loss."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.make = make

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> Any:
        return self.make(functional.cross_entropy(self.layer(x), labels))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


@pytest.mark.parametrize(
    ("make", "factor", "guess"),
    [
        # torchvision's detection models
        (
            lambda loss: {"loss_box": loss, "loss_class": 2 * loss, "accuracy": loss.detach()},
            3,
            "the sum of loss_box, loss_class as the loss",
        ),
        (lambda loss: {"loss": loss, "loss_box": 2 * loss}, 1, ""),
        (lambda loss: {"loss_a": loss, "total_loss": 2 * loss}, 2, ""),
        # a variational autoencoder: all, reconstruction, divergence
        (
            lambda loss: (3 * loss, 2 * loss, loss),
            3,
            "the first of the 3 scalars returned as the loss",
        ),
        (lambda loss: (loss, loss.detach()), 1, "the first of the 2 scalars returned as the loss"),
        # several heads
        (
            lambda loss: [loss, 2 * loss, 3 * loss],
            6,
            "the sum of the 3 losses returned as the loss",
        ),
    ],
)
@pytest.mark.parametrize("where", ["model", "loss", "training_step"])
def test_several_losses_are_one_by_the_customs_of_libraries(
    make: Any, factor: float, guess: str, where: str
) -> None:
    model: Any = Returns(make if where == "model" else lambda loss: loss)
    fields: dict[str, Any] = {}
    if where == "loss":
        model = Plain()
        fields["loss"] = lambda output, target: make(functional.cross_entropy(output, target))
    if where == "training_step":
        fields["training_step"] = lambda model, batch: make(model(*batch))
    value, function = _loss(model, (X, CLASSES), **fields)
    expected = functional.cross_entropy(model.layer(X), CLASSES)
    assert torch.isclose(value, factor * expected)
    assert function.facts.guesses == ((guess,) if guess else ())


def test_losses_that_cannot_be_differentiated_are_none(error_of: Any) -> None:
    model = Returns(lambda loss: {"accuracy": loss.detach(), "logits": torch.zeros(3)})
    error = error_of(_loss, model, (X, CLASSES))
    assert "the model returned a dict of accuracy, logits" in str(error)


def test_targets_in_a_tuple_are_described_in_english(error_of: Any) -> None:
    class Detector(nn.Module):
        def forward(self, images: Any, targets: Any) -> dict[str, torch.Tensor]:
            return {"boxes": torch.zeros(3)}

    error = error_of(_loss, Detector(), ((X, X), ({"boxes": X}, {"boxes": X})))
    assert str(error) == (
        "there is no loss: the model returned a dict of boxes, and the batch has a tuple of 2 as "
        "its target"
    )


AS_TARGET = "the input as the target of the loss"


@pytest.mark.parametrize("batch", [X, (X,), [X], {"image": X}], ids=lambda b: type(b).__name__)
def test_an_autoencoder_has_its_input_as_target(batch: Any) -> None:
    model = nn.Sequential(nn.Linear(4, 4))
    value, function = _loss(model, batch, loss=nn.MSELoss())
    assert value == functional.mse_loss(model(X), X)
    assert function.facts.guesses == (AS_TARGET,)


def test_labels_beside_an_autoencoder_are_left_out() -> None:
    images = torch.randn(5, 1, 2, 2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4))
    value, function = _loss(model, (images, CLASSES), loss=nn.MSELoss())
    assert value == functional.mse_loss(model(images), images.flatten(1))
    assert function.facts.guesses == (AS_TARGET,)


def test_targets_as_wide_as_the_input_stay_targets() -> None:
    model = nn.Linear(4, 4)
    for target in (torch.randn(5, 4), torch.randint(3, (5, 4))):
        value, function = _loss(model, (X, target), loss=nn.L1Loss())
        assert value == functional.l1_loss(model(X), target)
        assert function.facts.guesses == ()
    value, function = _loss(model, (X, CLASSES), loss=nn.CrossEntropyLoss())
    assert value == functional.cross_entropy(model(X), CLASSES)


def test_the_loss_of_a_variational_autoencoder_takes_what_pytorchs_example_gives_it() -> None:
    class Vae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> Any:
            return self.layer(x), x.mean(), x.std()

    def loss(recon: torch.Tensor, x: torch.Tensor, mu: torch.Tensor, std: torch.Tensor) -> Any:
        return functional.mse_loss(recon, x) + mu + std

    model = Vae()
    value, function = _loss(model, (X, CLASSES), loss=loss)
    assert value == functional.mse_loss(model.layer(X), X) + X.mean() + X.std()
    assert AS_TARGET in function.facts.guesses
    assert any("the other outputs" in guess for guess in function.facts.guesses)


def test_a_loss_of_one_argument_is_called_with_the_output() -> None:
    model = nn.Linear(4, 4)
    for batch in (X, (X, CLASSES)):
        value, _ = _loss(model, batch, loss=lambda output: output.square().mean())
        assert value == model(X).square().mean()


def test_an_evaluation_without_a_loss_says_so_after_the_forward_pass() -> None:
    function = LossFunction(Workload(model=nn.Identity()), nn.Identity())
    with pytest.raises(NoLossError):
        function.evaluate(nn.Linear(4, 3), X)
